"""Scores and verdicts as arrays, by the policy's own code (`clipmill.curate.policy.decisions`): the page's scripts are
checked against them.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from clipmill.curate.policy.decisions import ERROR, NOT_RUN, Outcomes, outcomes
from clipmill.curate.policy.policy import Filter
from clipmill.curate.report.load import Decided, Run


@dataclass(frozen=True)
class Column:
    """One score of every clip. values: floating [n], NaN where missing, in the manifest's precision, because limits are
    compared in it. missing: int8 [n], 0 where there is a score, else ERROR or NOT_RUN.
    """

    name: str
    values: np.ndarray
    missing: np.ndarray

    @property
    def is_float32(self) -> bool:
        """Whether scores are single precision, in which limits are compared then; double precision otherwise."""
        return self.values.dtype == np.float32


def column(run: Run, name: str) -> Column:
    """A column of the manifest: booleans as 0 and 1; of text only whether it is missing. One the manifest lacks was not
    run.
    """
    n = len(run.clips)
    if name not in run.clips:
        return Column(name, np.full(n, np.nan), np.full(n, NOT_RUN, np.int8))
    raw = run.clips[name]
    kind = np.float32 if raw.dtype == np.float32 else np.float64
    values = raw.to_numpy(kind, na_value=np.nan) if is_numeric(raw) else np.where(raw.isna(), np.nan, 0.0)
    unknown = np.where(_not_run(run, name), NOT_RUN, ERROR)
    return Column(name, values, np.where(np.isnan(values), unknown, 0).astype(np.int8))


def _not_run(run: Run, name: str) -> np.ndarray:
    """bool [n]: the column's annotator has not looked at the clip. A column nobody made is there or failed, as in
    `clipmill.curate.policy.decisions`.
    """
    maker = run.makers.get(name)
    if maker is None or "score_status" not in run.clips:
        return np.zeros(len(run.clips), bool)
    never = np.zeros(len(run.clips), bool)
    return ~run.looked.get(maker, run.looked.get(maker.rpartition(".")[0] or maker, never))


def is_numeric(values: pd.Series) -> bool:
    """Numbers and booleans."""
    return pd.api.types.is_numeric_dtype(values) and values.dtype.kind in "biuf"


def has_limits(filter_: Filter) -> bool:
    """True where a number decides: such a filter gets a histogram and sliders."""
    return filter_.min is not None or filter_.max is not None


def judged(run: Run, decided: Decided) -> Outcomes:
    """What every filter says of every clip. A column that is gone from the manifest counts as not run."""
    makers = {f.column: "" for f in decided.policy.filters if f.column not in run.clips} | run.makers
    return outcomes(decided.policy, run.clips, makers)


def spread(values: np.ndarray) -> float:
    """Interquartile range of the finite values; where it is 0, their range; where that is 0, 1. Makes margins
    comparable.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 1.0
    low, high = np.quantile(finite, [0.25, 0.75])
    return float(high - low) or float(finite.max() - finite.min()) or 1.0
