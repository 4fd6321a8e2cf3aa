"""The score of a set from one number of each clip: their mean, and how far it may be off."""

import numpy as np

from clipmill.evaluate.distances.grouped import group_sums
from clipmill.evaluate.extraction.measure import Measured
from clipmill.evaluate.metrics import Score


def mean_score(measured: Measured, higher_is_better: bool | None = None, unit: str = "") -> Score:
    """Mean of the first column over clips. An infinite value is a value: the mean is infinite then, `perfect_clips`
    (`infinite_clips` where high is not good) and `mean_of_others` are in the details, and a warning says so.

    Standard error: from groups of clips that are not independent (one source video, copies), left out whole; for equal
    groups that is the delete-a-group jackknife of the mean, in general the cluster-robust variance (Cochran, Sampling
    Techniques, 1977, section 9A). None below two groups.
    """
    values = measured.values[:, 0].astype(np.float64)
    finite = np.isfinite(values)
    if finite.all():
        return Score(float(values.mean()), _error(values, measured.groups))
    count, rest = int((~finite).sum()), values[finite]
    kind = "perfect" if higher_is_better else "infinite"
    others = {"mean_of_others": float(rest.mean())} if len(rest) else {}
    error = _error(rest, [g for g, kept in zip(measured.groups, finite, strict=False) if kept])
    bar = "" if error is None else f" ± {error:.2g}"
    said = f"; the mean of the others is {rest.mean():.6g}{bar}{' ' + unit if unit else ''}" if len(rest) else ""
    with np.errstate(invalid="ignore"):
        mean = float(values.mean())
    return Score(
        mean,
        None,
        {f"{kind}_clips": float(count), **others},
        (f"{count} of {len(values)} fake clips are {kind} (an infinite value){said}",),
    )


def _error(values: np.ndarray, groups: list[str]) -> float | None:
    if len(values) < 2:
        return None
    if len(set(groups)) == len(values):
        return float(values.std(ddof=1) / np.sqrt(len(values)))
    sums = group_sums(values - values.mean(), groups)
    if len(sums) < 2:
        return None
    return float(np.sqrt(len(sums) / (len(sums) - 1) * np.square(sums).sum()) / len(values))
