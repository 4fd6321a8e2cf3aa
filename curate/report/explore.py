"""What the page's sliders and galleries work on: scores of (a sample of) all clips, and the clips worth looking at."""

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

import numpy as np
import pandas as pd

from clipmill.curate.contract import schema
from clipmill.curate.policy.decisions import ERROR, NOT_RUN, PASS, Outcomes
from clipmill.curate.policy.policy import Filter
from clipmill.curate.report import command, decide, fmt
from clipmill.curate.report.decide import Column
from clipmill.curate.report.load import OUTCOMES, Decided, Run

MAX_CLIPS = 50_000
MAX_CELLS = 1_500_000
PER_GROUP = 12
DIGITS = 4
FACTS = ("duration_s", "n_frames", "fps", "width", "height", "cut_residual")
NOT_SCORES = {*schema.CLIPS.names, "offset", "size", "sha256", "dup_group_id"}


@dataclass(frozen=True)
class Group:
    """Clips shown together. clips: row numbers of the run's clips, at most PER_GROUP; total: how many belong to the
    group.
    """

    key: str
    title: str
    note: str
    total: int
    clips: list[int]


@dataclass(frozen=True)
class Sample:
    """The first `n` clips of the run (clips are sorted by a hash, so this is a uniform sample) and the columns shown
    for them.
    """

    n: int
    columns: list[str]


def sample(run: Run) -> Sample:
    """Bounded so that the page stays some megabytes: at most MAX_CLIPS clips and MAX_CELLS numbers."""
    columns = list(dict.fromkeys([*_filter_columns(run), *_score_columns(run), *(c for c in FACTS if c in run.clips)]))
    return Sample(min(len(run.clips), MAX_CLIPS, MAX_CELLS // max(len(columns), 1)), columns)


def _filter_columns(run: Run) -> list[str]:
    return [f.column for p in run.policies for f in p.policy.filters]


def _score_columns(run: Run) -> list[str]:
    """Numeric columns that an annotator made, in the manifest's order; without run.json, all numeric ones that are no
    facts.
    """
    known = set(run.makers) or set(run.clips.columns) - NOT_SCORES
    return [c for c in run.clips.columns if c in known and decide.is_numeric(run.clips[c])]


def groups(run: Run, decided: Decided, judged: Outcomes, n: int) -> list[Group]:
    """Kept, dropped by each filter, near each filter's boundary, error, not run; one policy."""
    order, filters = _spread_order(run, n), decided.policy.filters
    found = [_pick("kept", "Kept", "", _is(decided, "kept"), order)]
    found += [_dropped(decided, f.column, order) for f in filters]
    for i, filter_ in enumerate(filters):
        if decide.has_limits(filter_):
            others = np.delete(judged.effective, i, axis=1)
            deciding = (others == PASS).all(axis=1)[:n]
            found += _boundary(
                filter_, judged.margins[:n, i], decide.column(run, filter_.column).values, deciding, decided.outcome[:n]
            )
    found.append(_pick("error", "Error: a score that the policy needs failed", "", _is(decided, "error"), order))
    found.append(
        _pick("not_run", "Not run: a score that the policy needs was not computed", "", _is(decided, "not_run"), order)
    )
    return [g for g in found if g.clips]


def _is(decided: Decided, outcome: str) -> np.ndarray:
    return decided.outcome == OUTCOMES.index(outcome)


def _spread_order(run: Run, n: int) -> np.ndarray:
    """Row numbers such that one clip of every video comes first, then a second of every video: variety without
    chance.
    """
    if not n:
        return np.zeros(0, np.int64)
    turn = run.clips["video_id"].iloc[:n].groupby(run.clips["video_id"].iloc[:n]).cumcount().to_numpy()
    return np.argsort(turn, kind="stable")


def _pick(key: str, title: str, note: str, member: np.ndarray, order: np.ndarray) -> Group:
    return Group(key, title, note, int(member.sum()), [int(i) for i in order if member[i]][:PER_GROUP])


def _dropped(decided: Decided, name: str, order: np.ndarray) -> Group:
    """Clips that this filter alone drops come first: they show best what it does."""
    member = np.array([name in failed for failed in decided.failed], bool) & _is(decided, "dropped")
    alone = np.array([len(failed) == 1 for failed in decided.failed], bool)
    ranked = order[np.argsort(~alone[order], kind="stable")]
    return _pick(
        f"dropped:{name}",
        f"Dropped by {name}",
        f"{int((member & alone).sum()):,} by it alone; these come first.",
        member,
        ranked,
    )


def _boundary(
    filter_: Filter, margin: np.ndarray, scores: np.ndarray, deciding: np.ndarray, outcome: np.ndarray
) -> list[Group]:
    """The clips whose fate this one threshold decides, nearest first, on either side; within half an
    interquartile range of it.

    A score with few different values (a rank, a count) has no clips near its threshold that differ from the others.
    """
    if len(np.unique(scores[np.isfinite(scores)])) < 10:
        return []
    distance = np.abs(margin) / decide.spread(scores)
    order, found = np.argsort(distance, kind="stable"), []
    for side, member in (("kept", margin >= 0), ("dropped", margin < 0)):
        member = member & deciding & (distance < 0.5) & (outcome == OUTCOMES.index(side))
        clips = [int(i) for i in order if member[i]][: PER_GROUP // 2]
        found.append(
            Group(f"boundary:{filter_.column}:{side}", f"Just {side} by {filter_.text}", "", len(clips), clips)
        )
    return found


def differing(run: Run, n: int) -> list[Group]:
    """Clips that another policy keeps and the run's own does not, and the other way round."""
    found, order = [], _spread_order(run, n)
    for own, other in ((run.policies[0], p) for p in run.policies[1:]):
        for a, b in ((own, other), (other, own)):
            member = _is(a, "kept") & ~_is(b, "kept")
            found.append(_pick(f"differ:{a.name}:{b.name}", f"Kept by {a.name}, not by {b.name}", "", member, order))
    return [g for g in found if g.clips]


def payload(run: Run, chosen: Sample, policies: list[dict[str, Any]], pictured: list[int]) -> dict[str, Any]:
    """The JSON behind the sliders: columns of scores, policies (`policy_json`), and texts of the clips that have a
    picture.
    """
    n, clips = chosen.n, run.clips
    relpath = clips["relpath"].iloc[:n] if "relpath" in clips else clips["video_id"].iloc[:n]
    videos = sorted({fmt.text(v) for v in relpath})
    place = {v: i for i, v in enumerate(videos)}
    return {
        "total": len(clips),
        "ids": clips["clip_id"].iloc[:n].tolist(),
        "videos": videos,
        "video": [place[fmt.text(v)] for v in relpath],
        "start": _rounded(clips["start_s"].iloc[:n]),
        "end": _rounded(clips["end_s"].iloc[:n]),
        "columns": [_column_json(run, name, n) for name in chosen.columns],
        "policies": policies,
        "texts": _texts(run, pictured, chosen),
    }


def _column_json(run: Run, name: str, n: int) -> dict[str, Any]:
    scores = decide.column(run, name)
    if name in run.clips and not decide.is_numeric(run.clips[name]):
        values: list[Any] = [None if fmt.is_missing(v) else fmt.text(v, 60) for v in run.clips[name].iloc[:n]]
    else:
        filters = [f for p in run.policies for f in p.policy.filters if f.column == name]
        values = pack(Column(name, scores.values[:n], scores.missing[:n]), filters)
    return {
        "name": name,
        "doc": _doc(run, name),
        "by": run.makers.get(name, "clips"),
        "float32": scores.is_float32,
        "values": values,
        "error": np.flatnonzero(scores.missing[:n] == ERROR).tolist(),
        "not_run": np.flatnonzero(scores.missing[:n] == NOT_RUN).tolist(),
    }


def _doc(run: Run, name: str) -> str:
    stated = (run.info.get("column_docs") or {}).get(name)
    if stated is None and name in schema.CLIP_COLUMNS:
        stated = schema.CLIP_COLUMNS[name].doc
    return fmt.text(stated)


def pack(scores: Column, filters: list[Filter]) -> list[float | None]:
    """Scores in DIGITS significant digits, None where missing, such that no decision changes.

    Rounded down where a minimum applies and up where a maximum does, so that the comparison with any threshold of
    DIGITS digits is exact; with both sides in use, and where a frozen threshold of more digits would flip, all digits
    stay.
    """
    sides = {side for f in filters for side in ("min", "max") if getattr(f, side) is not None}
    exact = scores.values
    text = [str(v) for v in exact]  # numpy's shortest digits that read back as the same float32 or float64
    if len(sides) < 2:
        context = Context(prec=DIGITS, rounding=ROUND_CEILING if sides == {"max"} else ROUND_FLOOR)
        text = [str(context.create_decimal(Decimal(t))) for t in text]
    short = np.array(text, exact.dtype)
    for filter_ in filters:
        low, high = (exact.dtype.type(np.nan if v is None else v) for v in (filter_.min, filter_.max))
        flips = ((short < low) != (exact < low)) | ((short > high) != (exact > high))
        short = np.where(flips, exact, short)
    known = (scores.missing == 0) & np.isfinite(exact)
    return [float(str(v)) if k else None for v, k in zip(short, known, strict=True)]


def policy_json(run: Run, decided: Decided, judged: Outcomes, chosen: Sample, found: list[Group]) -> dict[str, Any]:
    """One policy. `pinned`: clips whose recorded outcome the rule does not give; the page leaves them as they are and
    says how many.
    """
    n, codes = chosen.n, judged.effective
    filters = []
    for i, filter_ in enumerate(decided.policy.filters):
        filters.append(
            {
                "column": chosen.columns.index(filter_.column),
                "min": filter_.min,
                "max": filter_.max,
                "one_of": [str(v) for v in filter_.one_of or ()],
                "on_error": filter_.on_error,
                "fixed": "" if decide.has_limits(filter_) else _digits(codes[:n, i]),
            }
        )
    return {
        "name": decided.name,
        "filters": filters,
        "command": command.commands(run, decided),
        "outcome": _digits(np.where(decided.outcome[:n] < 0, len(OUTCOMES), decided.outcome[:n])),
        "pinned": np.flatnonzero(judged.clips[:n] != decided.outcome[:n]).tolist(),
        "groups": [group_json(g) for g in found],
    }


def undecided_json(run: Run, n: int) -> dict[str, Any]:
    """Stands in where no policy has decided yet: every clip is undecided, and some of them are shown."""
    every = _pick(
        "kept", "All clips", "No policy has decided on them yet.", np.ones(len(run.clips), bool), _spread_order(run, n)
    )
    return {
        "name": "",
        "filters": [],
        "command": {},
        "outcome": str(len(OUTCOMES)) * n,
        "pinned": [],
        "groups": [group_json(every)],
    }


def group_json(group: Group) -> dict[str, Any]:
    """The fields of a group as the page reads them."""
    return {"key": group.key, "title": group.title, "note": group.note, "total": group.total, "clips": group.clips}


def _digits(codes: np.ndarray) -> str:
    return "".join(map(str, codes.tolist()))


def _rounded(values: pd.Series) -> list[float | None]:
    return [None if fmt.is_missing(v) else round(float(v), 3) for v in values]


def _texts(run: Run, rows: list[int], chosen: Sample) -> dict[str, dict[str, str]]:
    """Everything else the manifest says of these clips, as short strings, and the messages of annotators that failed on
    them.
    """
    hidden = {
        "relpath",
        "uri",
        "start_s",
        "end_s",
        "outcome",
        "failed_filters",
        "score_status",
        "keep",
        *chosen.columns,
    }
    clips = run.clips[[c for c in run.clips if c not in hidden]].iloc[rows]
    failed: dict[str, dict[str, str]] = {}
    for error in run.clip_errors[run.clip_errors["clip_id"].isin(clips["clip_id"])].itertuples():
        failed.setdefault(str(error.clip_id), {})[f"{error.annotator} failed"] = fmt.text(error.error, 300)
    found = {}
    for row, clip in zip(rows, clips.to_dict("records"), strict=True):
        own = failed.get(str(clip.pop("clip_id")), {})
        found[str(row)] = {str(k): fmt.text(_plain(v), 160) for k, v in clip.items() if not fmt.is_missing(v)} | own
    return found


def _plain(value: Any) -> Any:
    """Whole numbers without a point: pandas reads an integer column with nulls as floats."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
