"""The error bar of a difference of two sets to the same real clips."""

from collections.abc import Iterator

import numpy as np

from clipmill.evaluate.distances.error_bar import MIN_ROWS, LeftOut, splits_of
from clipmill.evaluate.distances.grouped import group_sums, random_parts
from clipmill.evaluate.versus.differences import AnyDifference, Difference, MeanDifference
from clipmill.evaluate.versus.matching import Units

_Left = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def standard_error(
    difference: Difference, units: Units, n_first: int, real_codes: np.ndarray | None, seed: int
) -> float | None:
    """Over fresh draws of both sets and of the real clips. n_first: clips of the first set in the pool. real_codes:
    int64 [n_real], which real clips are not independent; None where the difference has no real clips.

    Delete-a-group jackknife (see `clipmill.evaluate.distances.error_bar`): of paired sets the clips of one unit are
    left out on both sides, so that what they share cancels. Of means the cluster-robust variance, of which the
    jackknife is an estimate. None below eight units, and for metrics of which no simulation has shown it to hold.
    """
    fewest = units.count if real_codes is None else min(units.count, len(np.unique(real_codes)))
    if fewest < MIN_ROWS or isinstance(difference, AnyDifference):
        return None
    if isinstance(difference, MeanDifference):
        return _of_means(difference, units, n_first, real_codes)
    first, second = units.rows_a, units.rows_b + n_first
    rng = np.random.default_rng(seed)
    by_groups = {
        parts: np.array(
            [
                [difference.between(*left) for left in _left_out(units, first, second, real_codes, parts, rng)]
                for _ in range(count)
            ]
        )
        for parts, count in sorted(splits_of(len(first), fewest).items())
    }
    return LeftOut(difference.between(first, second), by_groups, fewest).standard_error


def _left_out(
    units: Units,
    first: np.ndarray,
    second: np.ndarray,
    real_codes: np.ndarray | None,
    parts: int,
    rng: np.random.Generator,
) -> Iterator[_Left]:
    """The clips that are left, for each part that is left out."""
    parts_a = random_parts(units.codes_a, parts, rng)
    parts_b = parts_a if units.paired else random_parts(units.codes_b, parts, rng)
    parts_real = [None] * parts if real_codes is None else random_parts(real_codes, parts, rng)
    for i, j, k in zip(parts_a, parts_b, parts_real, strict=True):
        real = None if k is None or real_codes is None else np.delete(np.arange(len(real_codes)), k)
        yield np.delete(first, i), np.delete(second, j), real


def _of_means(difference: MeanDifference, units: Units, n_first: int, real_codes: np.ndarray | None) -> float:
    """Cluster-robust (Cochran, Sampling Techniques, 1977, section 9A): of sums over units of what clips add."""
    added = difference.added(units.rows_a, units.rows_b + n_first)
    if units.paired:
        variance = _variance(group_sums(added[0] - added[1], units.codes_a))
    else:
        variance = sum(
            _variance(group_sums(one, c)) for one, c in zip(added, (units.codes_a, units.codes_b), strict=True)
        )
    if real_codes is not None:
        variance += _variance(group_sums(difference.added_by_real(units.rows_a, units.rows_b + n_first), real_codes))
    return float(np.sqrt(variance))


def _variance(sums: np.ndarray) -> float:
    return len(sums) / (len(sums) - 1) * float(np.square(sums - sums.mean()).sum())
