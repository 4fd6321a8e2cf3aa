"""What each filter costs: in order, alone, uniquely, jointly; and several policies side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clipmill.curate.policy.decisions import (
    BY_HAND,
    CLIP_OUTCOMES,
    DROPPED_BY_HAND,
    ERROR,
    FAIL,
    KEPT_BY_HAND,
    NOT_RUN,
    PASS,
    Outcomes,
    counts,
)

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("filter", "threshold", "entering", "dropped", "error", "not_run", "remaining", "fails", "unique", "marginal")


@dataclass(frozen=True)
class Joint:
    """How filters overlap, over the n clips that every filter could judge.

    kept_share: what they keep together. independent_share: the product of what each keeps alone; below kept_share where
    the filters drop the same clips (SVD, arXiv 2311.15127: 26.3 % kept, 21.1 % if independent). None where n is 0.
    """

    n: int
    kept_share: float | None
    independent_share: float | None

    @property
    def text(self) -> str:
        """One line for people."""
        if self.kept_share is None or self.independent_share is None:
            return "no clip has a score for every filter"
        kept, alone = 100 * self.kept_share, 100 * self.independent_share
        return (
            f"together the filters keep {kept:.1f} % of {self.n:,} fully scored clips; independent filters would keep"
            f" {alone:.1f} %"
        )


@dataclass(frozen=True)
class Comparison:
    """Policies side by side.

    counts: one row per policy (name, clips, kept, dropped, error, not_run). changes: clip_id and one outcome column per
    policy, for the clips on which the policies do not agree.
    """

    counts: pd.DataFrame
    changes: pd.DataFrame


def waterfall(found: Outcomes) -> pd.DataFrame:
    """One row per filter in the policy's order, columns as COLUMNS, all counts in clips.

    In order: of the `entering` clips, `dropped` fail here first, `error` and `not_run` end the clip undecided here
    first, the rest are `remaining`; a clip that fails anywhere leaves at its first failing filter, so the columns add
    up to the decisions. Regardless of order: `fails` over all clips, `unique` fail this filter and no other, `marginal`
    would be kept if this filter were taken out of the policy. Where a person decided, the last row is `by_hand`: the
    clips that a person drops and no filter does; those that a person keeps leave at no filter.
    """
    codes, leaves = _with_hand(found), _first_reason(found)
    n_bad = (codes != PASS).sum(axis=1)
    n_fails = (codes == FAIL).sum(axis=1)
    by_rule = found.by_hand is None or found.by_hand != KEPT_BY_HAND
    texts = [(f.column, f.text) for f in found.policy.filters]
    texts += [] if found.by_hand is None else [(BY_HAND, f"by hand {(found.by_hand == KEPT_BY_HAND).sum():,} kept")]
    rows, entering = [], len(codes)
    for i, text in enumerate(texts):
        fails = codes[:, i] == FAIL
        gone = [int(np.sum((leaves == i) & (found.clips == kind))) for kind in (1, 2, 3)]
        remaining = entering - sum(gone)
        over_all = [
            int(fails.sum()),
            int((fails & (n_fails == 1)).sum()),
            int(((codes[:, i] != PASS) & (n_bad == 1) & by_rule).sum()),
        ]
        rows.append([*text, entering, *gone, remaining, *over_all])
        entering = remaining
    return pd.DataFrame(rows, columns=list(COLUMNS))


def overlap(found: Outcomes) -> pd.DataFrame:
    """[F, F] int64: how many clips fail both filters; on the diagonal, how many fail that one."""
    fails = (found.effective == FAIL).astype(np.int64)
    return pd.DataFrame(fails.T @ fails, found.policy.columns, found.policy.columns)


def joint(found: Outcomes) -> Joint:
    """See `Joint`."""
    codes = found.codes
    judged = codes[np.isin(codes, [PASS, FAIL]).all(axis=1)] == PASS
    if not len(judged):
        return Joint(0, None, None)
    return Joint(len(judged), float(judged.all(axis=1).mean()), float(np.prod(judged.mean(axis=0))))


def summary(found: Outcomes) -> dict[str, Any]:
    """{"waterfall": rows, "overlap": {filter: {filter: clips}}, "joint": {...}}, JSON-ready, for `decisions.save`."""
    together = joint(found)
    return {
        "waterfall": waterfall(found).to_dict("records"),
        "overlap": overlap(found).to_dict("index"),
        "joint": {"n": together.n, "kept_share": together.kept_share, "independent_share": together.independent_share},
    }


def compare(policies: Sequence[tuple[str, pd.DataFrame]]) -> Comparison:
    """Decisions (`schema.DECISIONS`) of several policies over the same clips, by name. Clips missing in one are null
    there.
    """
    table = pd.DataFrame([{"policy": name} | counts(decisions) for name, decisions in policies])
    columns = [decisions.set_index("clip_id")["outcome"].rename(name) for name, decisions in policies]
    together = pd.concat(columns, axis=1)
    differ = together.nunique(axis=1, dropna=False) > 1
    return Comparison(table, together[differ].rename_axis("clip_id").reset_index())


def render(rows: pd.DataFrame, together: Joint) -> "Table":
    """The waterfall as a rich table that fits 80 columns; its caption is the joint line. Undecided columns show only
    where not all 0.
    """
    unused = [c for c in ("error", "not_run") if not rows[c].any()]
    names = {"threshold": "keeps", "entering": "in", "remaining": "left"}
    return _table(rows.drop(columns=["filter", *unused]).rename(columns=names), caption=together.text)


def render_comparison(found: Comparison, limit: int = 10) -> "Table":
    """Counts per policy as a rich table; the caption says how many clips change, and names the first `limit`."""
    ids = ", ".join(i[:12] for i in found.changes["clip_id"][:limit])
    more = f" and {len(found.changes) - limit:,} more" if len(found.changes) > limit else ""
    return _table(found.counts, caption=f"{len(found.changes):,} clips change{': ' if ids else ''}{ids}{more}")


def _first_reason(found: Outcomes) -> np.ndarray:
    """int64 [N]: the filter at which a clip leaves, -1 for kept ones."""
    codes, clips = _with_hand(found), found.clips
    if not codes.shape[1]:
        return np.full(len(codes), -1)
    reason = np.asarray([PASS, FAIL, ERROR, NOT_RUN])[clips]
    return np.where(clips == CLIP_OUTCOMES.index("kept"), -1, (codes == reason[:, None]).argmax(axis=1))


def _with_hand(found: Outcomes) -> np.ndarray:
    """int8 [N, F or F + 1]: the effective codes, and a last column for what a person dropped."""
    if found.by_hand is None:
        return found.effective
    hand = np.where(found.by_hand == DROPPED_BY_HAND, FAIL, PASS).astype(np.int8)
    return np.column_stack([found.effective, hand])


def _table(rows: pd.DataFrame, caption: str) -> "Table":
    """The first column on the left, numbers on the right; headers break before numbers do."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, caption=caption, caption_justify="left", pad_edge=False, padding=(0, 1, 0, 0))
    cells = [
        [f"{v:,}" if isinstance(v, int | np.integer) else str(v) for v in row] for row in rows.itertuples(index=False)
    ]
    for i, name in enumerate(rows.columns):
        header = str(name).replace("_", " ")
        widest = max(len(text) for text in (*header.split(), *(row[i] for row in cells)))
        table.add_column(header, justify="right" if i else "left", min_width=widest if i else 8, overflow="fold")
    for row in cells:
        table.add_row(*row)
    return table
