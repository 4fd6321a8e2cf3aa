"""From scores to decisions: a pure function of a policy and a table, with no video in sight.

Each filter says one of four things of a clip: `pass`, `fail`, `error` (the score was tried and is not there) or
`not_run` (its annotator has not looked at this clip). A clip is `dropped` where any filter fails, else `error` where
any filter says so, else `not_run`, else `kept`; so clips == kept + dropped + error + not_run, always.

A column belongs to the annotator that `makers` names, column -> "motion.v1"; the annotator's word on the clip stands in
`score_status`, under "motion" or "motion.v1". A column that nobody made (one of the clips table) has no status: a null
there is an error. NaN and infinity are no scores.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clipmill.curate.common.files import is_bare, read_json, readable, write_atomic, write_json
from clipmill.curate.common.publish import settle
from clipmill.curate.common.shapes import described
from clipmill.curate.contract import schema
from clipmill.curate.errors import UserError, one_line
from clipmill.curate.policy.policy import Filter, Policy, check_columns, from_json, policy_id, to_json

PASS, FAIL, ERROR, NOT_RUN = range(4)
FILTER_OUTCOMES = ("pass", "fail", "error", "not_run")
# Of decisions/<policy>.json.
NOTE_SHAPE: dict[str, Any] = {"name": str, "policy_id": str, "filters": [dict], "counts": {str: int}}
CLIP_OUTCOMES = ("kept", "dropped", "error", "not_run")
CONFIDENCE = 0.95
BY_HAND = "by_hand"  # as the last of failed_filters
KEPT_BY_HAND, DROPPED_BY_HAND = 1, 2  # in Outcomes.by_hand; 0: undecided


@dataclass(frozen=True)
class Outcomes:
    """What every filter says of every clip.

    clip_ids: [N] str. codes: int8 [N, F], indices into FILTER_OUTCOMES, filters in the policy's order. margins: float64
    [N, F], the signed distance to the nearest limit in the column's unit, negative where the filter fails, NaN where
    there is no score or the filter has no numeric limit. by_hand: int8 [N] of `policy.by_hand` (0 undecided, 1 keep,
    2 drop), which stands above the filters; None where nobody decided anything.
    """

    policy: Policy
    clip_ids: np.ndarray
    codes: np.ndarray
    margins: np.ndarray
    by_hand: np.ndarray | None = None

    @cached_property
    def effective(self) -> np.ndarray:
        """codes with each filter's `on_error` applied: an error counts as a fail (drop) or a pass (keep)."""
        codes = self.codes.copy()
        for i, filter_ in enumerate(self.policy.filters):
            if filter_.on_error != "error":
                codes[codes[:, i] == ERROR, i] = FAIL if filter_.on_error == "drop" else PASS
        return codes

    @cached_property
    def clips(self) -> np.ndarray:
        """int8 [N], indices into CLIP_OUTCOMES."""
        codes = self.effective
        conditions = [(codes == code).any(axis=1) for code in (FAIL, ERROR, NOT_RUN)]
        by_rule = np.select(conditions, [1, 2, 3], 0).astype(np.int8)
        return (
            by_rule if self.by_hand is None else np.where(self.by_hand > 0, self.by_hand - 1, by_rule).astype(np.int8)
        )


def freeze(policy: Policy, table: pd.DataFrame, makers: Mapping[str, str] | None = None) -> Policy:
    """The policy with keep-rate targets turned into thresholds from the scored clips of `table`.

    Of n scores, `drop_lowest = p` puts `min` at the score of rank k = floor(p * n) (from 0, ascending): exactly k clips
    lie below it where scores differ. Clips tied with the threshold are kept, so never more than k are dropped and equal
    scores are never told apart. `drop_highest` is the mirror image. The 95 % interval of the threshold is the
    distribution-free one between order statistics (binomial ranks); it takes clips as independent draws, so treat it as
    the least there is where a few long videos give most clips. Already frozen filters stay as they are.
    Raises UserError for a column that neither the table nor `makers` knows, or whose kind does not fit the filter.
    """
    scores = _Scores(policy, table, makers)
    return replace(
        policy, filters=tuple(f if f.n_scored is not None else _freeze(f, *scores(f)) for f in policy.filters)
    )


def outcomes(frozen: Policy, table: pd.DataFrame, makers: Mapping[str, str] | None = None) -> Outcomes:
    """Every filter on every clip of `table` (clip_id, score columns, score_status). Raises UserError as `freeze`."""
    if not frozen.frozen:
        raise ValueError(f"policy {frozen.name!r} must be frozen first")
    scores = _Scores(frozen, table, makers)
    codes = np.zeros((len(table), len(frozen.filters)), np.int8)
    margins = np.full(codes.shape, np.nan)
    for i, filter_ in enumerate(frozen.filters):
        codes[:, i], margins[:, i] = _judge(filter_, *scores(filter_))
    return Outcomes(frozen, table["clip_id"].to_numpy(object), codes, margins)


def decide(frozen: Policy, table: pd.DataFrame, makers: Mapping[str, str] | None = None) -> pd.DataFrame:
    """One row per clip of `table`, same order, as `schema.DECISIONS`. See `outcomes` for arguments and errors."""
    return to_frame(to_arrow(outcomes(frozen, table, makers)))


def to_arrow(found: Outcomes) -> pa.Table:
    """The decisions as an Arrow table of `schema.DECISIONS`.

    `failed_filters` holds the filters that drop the clip, a failed score under `on_error = "drop"` among them (it alone
    has no margin), and `by_hand` at its end where a person did; `margins` has no entry where there is no distance.
    """
    codes, outcome = found.effective, found.clips
    failed, measured = codes == FAIL, ~np.isnan(found.margins)
    if found.by_hand is not None:
        failed = np.column_stack([failed, found.by_hand == DROPPED_BY_HAND])
    names = pa.array([*found.policy.columns, BY_HAND], pa.string())
    margins = pa.MapArray.from_arrays(
        _offsets(measured), names.take(_columns_of(measured)), pa.array(found.margins[measured])
    )
    columns = {
        "clip_id": pa.array(found.clip_ids, pa.string()),
        "keep": pa.array(outcome == 0),
        "outcome": pa.array(CLIP_OUTCOMES, pa.string()).take(pa.array(outcome)),
        "failed_filters": pa.ListArray.from_arrays(_offsets(failed), names.take(_columns_of(failed))),
        "margins": margins,
    }
    return pa.table(columns).cast(schema.DECISIONS)


def to_frame(decisions: pa.Table) -> pd.DataFrame:
    """The table in pandas: `keep` nullable boolean (runs of before have nulls for error and not_run), lists and maps
    left in Arrow (each reads as a list).
    """

    def kind(arrow: pa.DataType) -> Any:
        if pa.types.is_boolean(arrow):
            return pd.BooleanDtype()
        return pd.ArrowDtype(arrow) if pa.types.is_nested(arrow) else None

    return decisions.to_pandas(types_mapper=kind)


def counts(decisions: pd.DataFrame) -> dict[str, int]:
    """{"clips", "kept", "dropped", "error", "not_run"}; clips is the sum of the others."""
    found = decisions["outcome"].value_counts()
    return {"clips": len(decisions)} | {o: int(found.get(o, 0)) for o in CLIP_OUTCOMES}


def files_of(found: Outcomes, summary: Mapping[str, Any]) -> dict[str, pa.Table | dict[str, Any]]:
    """decisions/<policy>.parquet and .json of a run, by their path in it: for `clipmill.curate.common.publish`.

    `summary` is added to the JSON (waterfall, joint, overlap: see `clipmill.curate.policy.waterfall.summary`).
    """
    path = f"decisions/{found.policy.name}"
    head = {
        "name": found.policy.name,
        "policy_id": policy_id(found.policy),
        "filters": [to_json(f) for f in found.policy.filters],
    }
    kinds = np.bincount(found.clips, minlength=len(CLIP_OUTCOMES))
    counted = {"clips": len(found.clips)} | dict(zip(CLIP_OUTCOMES, map(int, kinds), strict=True))
    return {path_of(found.policy.name): to_arrow(found), f"{path}.json": head | {"counts": counted} | dict(summary)}


def path_of(policy: str) -> str:
    """Where in a run the decisions of the policy of that name lie."""
    return f"decisions/{policy}.parquet"


def save(run: Path, found: Outcomes, summary: Mapping[str, Any]) -> Path:
    """Write `files_of` into a folder; each appears whole or not at all. Returns the Parquet path."""
    (parquet, table), (note, values) = files_of(found, summary).items()
    write_atomic(run / parquet, table)
    write_json(run / note, values)
    return run / parquet


def load(run: Path, name: str) -> tuple[Policy, pd.DataFrame, dict[str, Any]]:
    """The frozen policy, its decisions and the whole JSON. Raises UserError where the run has no such decisions."""
    settle(run)
    folder = run / "decisions"
    if not is_bare(name) or not (folder / f"{name}.json").is_file() or not (folder / f"{name}.parquet").is_file():
        raise UserError(f"no decisions of policy {name!r} in {run}; there are: {', '.join(saved(run)) or 'none'}")
    note = described(read_json(folder / f"{name}.json"), NOTE_SHAPE, str(folder / f"{name}.json"))
    try:
        policy = Policy(note["name"], tuple(from_json(row) for row in note["filters"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{note.where}: its filters cannot be read ({one_line(error, 80)}): decide again") from error
    with readable(folder / f"{name}.parquet"):
        decided = pq.read_table(folder / f"{name}.parquet")
    return policy, to_frame(decided), note


def saved(run: Path) -> list[str]:
    """Names of the policies that have decided this run."""
    return sorted(p.stem for p in (run / "decisions").glob("*.json"))


def rank_interval(n: int, share: float, confidence: float = CONFIDENCE) -> tuple[int | None, int | None]:
    """Ranks (from 0) of the order statistics that bound the `share`-quantile of n draws with at least `confidence`.

    From the binomial: B(n, share) draws lie below the quantile. None where the sample is too small to bound that side.
    """
    from scipy.special import bdtr

    tail, spread = (1 - confidence) / 2, 10 * (n * share * (1 - share)) ** 0.5 + 10
    below = np.arange(max(0, int(n * share - spread)), min(n, int(n * share + spread)) + 1)
    cumulative = bdtr(below.astype(np.float64), n, share)
    low, high = below[np.searchsorted(cumulative, [tail, 1 - tail])]
    return (int(low) - 1 if low > 0 else None), (int(high) if high < n else None)


class _Scores:
    """The table as a policy sees it: calling it gives a filter's values [N] and codes int8 [N], PASS where there is a
    score.
    """

    def __init__(self, policy: Policy, table: pd.DataFrame, makers: Mapping[str, str] | None) -> None:
        self._table, self._makers = table, makers or {}
        check_columns(policy, [*table.columns, *self._makers])
        self._statuses = _statuses(table["score_status"]) if self._makers and "score_status" in table else None

    def __call__(self, filter_: Filter) -> tuple[np.ndarray, np.ndarray]:
        n, maker = len(self._table), self._makers.get(filter_.column)
        if filter_.column not in self._table:
            return np.full(n, np.nan), np.full(n, NOT_RUN, np.int8)
        values, missing = _values(filter_, self._table[filter_.column])
        codes = np.where(missing, ERROR, PASS).astype(np.int8)
        if maker is None or self._statuses is None:
            return values, codes
        stated = self._statuses.get(maker.partition(".")[0], np.full(n, NOT_RUN, np.int8))
        return values, np.where(stated == PASS, codes, stated).astype(np.int8)


def _values(filter_: Filter, column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    kind = _kind(column)
    wanted = "number" if filter_.one_of is None else _kind(pd.Series(list(filter_.one_of)))
    if kind not in (wanted, "empty"):
        hint = "min, max, drop_lowest or drop_highest" if kind == "number" else "equals or one_of"
        raise UserError(
            f"policy.{filter_.column}: the column holds {kind} values, the filter wants {wanted}; use {hint}"
        )
    if wanted != "number":
        return column.to_numpy(object), column.isna().to_numpy(bool)
    own: Any = column.dtype
    dtype = np.dtype(getattr(own, "numpy_dtype", own))
    values = column.to_numpy(dtype if dtype.kind == "f" else np.float64, na_value=np.nan)
    return values, ~np.isfinite(values)


def _kind(column: pd.Series) -> str:
    inferred = pd.api.types.infer_dtype(column, skipna=True)
    kinds = {"boolean": "boolean", "string": "text", "empty": "empty", "floating": "number", "integer": "number"}
    return kinds.get(inferred, "number" if inferred in ("mixed-integer-float", "integer-na") else inferred)


def _statuses(column: pd.Series) -> dict[str, np.ndarray]:
    """annotator (without version) -> int8 [N], PASS for ok, ERROR, or NOT_RUN where the clip has no word of it."""
    maps = pa.array(column, pa.map_(pa.string(), pa.string()), from_pandas=True)
    maps = maps.combine_chunks() if isinstance(maps, pa.ChunkedArray) else maps
    rows = np.repeat(np.arange(len(maps)), np.diff(maps.offsets.to_numpy()))
    names, who = _factorized(maps.keys, maps.offsets)
    words, said = _factorized(maps.items, maps.offsets)
    codes = np.asarray([{"ok": PASS, "error": ERROR}.get(w, NOT_RUN) for w in words], np.int8)
    found = {name.partition(".")[0]: np.full(len(maps), NOT_RUN, np.int8) for name in names}
    for i, name in enumerate(names):
        found[name.partition(".")[0]][rows[who == i]] = codes[said[who == i]]
    return found


def _factorized(values: pa.Array, offsets: pa.Array) -> tuple[list[str], np.ndarray]:
    """Distinct strings, and the index of each value among them, of the values that the offsets span."""
    first, last = offsets[0].as_py(), offsets[-1].as_py()
    encoded = values[first:last].dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy()


def _freeze(filter_: Filter, values: np.ndarray, codes: np.ndarray) -> Filter:
    filter_ = replace(
        filter_,
        min=_rounded(filter_.min, values),
        max=_rounded(filter_.max, values),
        n_scored=int((codes == PASS).sum()),
    )
    if filter_.requested is None or not filter_.n_scored:
        return filter_
    scores = np.sort(values[codes == PASS])
    side, share = next(iter(filter_.requested.items()))
    scores = scores if side == "drop_lowest" else scores[::-1]
    # Decimal, because 0.29 * 100 is 28.999999999999996 in binary floating point.
    threshold = float(scores[int(Decimal(repr(share)) * len(scores))])
    low, high = (None if rank is None else float(scores[rank]) for rank in rank_interval(len(scores), share))
    if side == "drop_lowest":
        return replace(filter_, min=threshold, ci_low=low, ci_high=high)
    return replace(filter_, max=threshold, ci_low=high, ci_high=low)


def _rounded(limit: float | None, values: np.ndarray) -> float | None:
    return limit if limit is None or values.dtype.kind != "f" else float(values.dtype.type(limit))


def _judge(filter_: Filter, values: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """codes int8 [N] with FAIL where a limit is broken, margins float64 [N]."""
    margins, scored = np.full(len(values), np.nan), codes == PASS
    if filter_.one_of is not None:
        fails = ~pd.Series(values).isin(list(filter_.one_of)).to_numpy(bool)
        return np.where(scored & fails, FAIL, codes), margins
    if not filter_.resolved:
        if scored.any():
            raise UserError(
                f"policy.{filter_.column}: {filter_.text} was frozen without any score; decide again from the target"
            )
        return codes, margins
    low, high = _rounded(filter_.min, values), _rounded(filter_.max, values)
    scores = values[scored].astype(np.float64)
    below = scores - low if low is not None else np.full(len(scores), np.inf)
    above = high - scores if high is not None else np.full(len(scores), np.inf)
    margins[scored] = np.minimum(below, above)
    return np.where(scored & (margins < 0), FAIL, codes), margins


def _offsets(mask: np.ndarray) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(mask.sum(axis=1))]).astype(np.int32))


def _columns_of(mask: np.ndarray) -> pa.Array:
    return pa.array(np.nonzero(mask)[1])
