"""How far a Fréchet distance may be off: by chance (standard error), and because there are only so many clips (bias).

Both come from leaving parts of the clips out, without replacement. Clips that are not independent (of one source video,
copies) are left out together, as whole groups: the delete-a-group jackknife, of Shao and Wu (Annals of Statistics 1989)
for independent rows, and with clusters as the rows in Kott, "The delete-a-group jackknife" (Journal of Official
Statistics 2001). A bootstrap will not do: its copies of rows lower the
rank of the covariance, and the distance of two resamples is far larger than that of the sets.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from clipmill.evaluate.distances.frechet import frechet_distance, frechet_from_moments
from clipmill.evaluate.distances.grouped import random_parts
from clipmill.evaluate.distances.moments import Moments

# Groups that a set is split into, one of them left out at a time -> how many such splits. Sizes from N / 2 to N.
SPLITS: Mapping[int, int] = {2: 12, 3: 3, 4: 3, 6: 3, 12: 3}
MIN_ROWS = 8
# Splits of few clips scatter, and cost little: below this many there are more of them, up to twelve times.
_FEW_ROWS = 512
_MOST_SPLITS = 12
# With so few groups the terms that are cubic and higher, which a jackknife counts three times and more, are as large as
# the quadratic one (measured on Gaussian sets, with 15 and 60 groups of 1, 4 and 8 clips).
_FEW_GROUPS, _ENOUGH_GROUPS = 15, 60

Rows = np.ndarray
Left = Callable[[Rows, Rows], float]


@dataclass(frozen=True)
class LeftOut:
    """Distances of what is left when one of g groups of each set is left out. full: of the whole sets. by_groups: g ->
    float64 [splits, g]; the splits are random, the groups of one split disjoint and of (nearly) equal size. groups: of
    clips that are independent, in the smaller set.
    """

    full: float
    by_groups: Mapping[int, np.ndarray]
    groups: int = _ENOUGH_GROUPS

    @property
    def standard_error(self) -> float:
        """Of the distance over fresh draws of both sets.

        Delete-group jackknife: (g - 1) times the variance within a split (Shao and Wu, Annals of Statistics 1989), all
        g together. It counts the part of the statistic that is quadratic in the sample twice (Efron and Stein 1981). In
        complementary halves the linear part cancels from the mean of the two, so the scatter of those means is the
        quadratic part, and is taken off once; with few groups of clips up to twice, for the higher terms. Up to half
        too wide where there are fewer clips than dimensions and the two laws are one.
        """
        within = sum(float(v.var(axis=1).sum()) * (g - 1) ** 2 for g, v in self.by_groups.items())
        jackknife = within / sum(len(v) * (g - 1) for g, v in self.by_groups.items())
        quadratic = float(self.by_groups[2].mean(axis=1).var(ddof=1))
        higher = np.clip((_ENOUGH_GROUPS - self.groups) / (_ENOUGH_GROUPS - _FEW_GROUPS), 0, 1)
        return float(np.sqrt(max(jackknife - (1 + higher) * quadratic, quadratic)))

    @property
    def infinity(self) -> float:
        """The distance extrapolated to infinitely many clips: where a straight line in 1/N, through the mean distances
        at N and at sizes down to N / 2, meets zero (Chong and Forsyth 2020, arXiv 1911.07023, who draw subsets at
        random; here every clip is left out equally often, so that which clips were drawn adds no noise).
        """
        sizes, means = self._means()
        return float(_intercept_weights(sizes) @ means)

    @property
    def infinity_error(self) -> float:
        """Standard error of `infinity`: that of the distance itself (the bias that is taken off hardly scatters), and
        that of the random splits.
        """
        sizes, _ = self._means()
        scatter = [0.0, *(v.mean(axis=1).var(ddof=1) / len(v) for _, v in sorted(self.by_groups.items()))]
        return float(np.sqrt(self.standard_error**2 + np.square(_intercept_weights(sizes)) @ scatter))

    def _means(self) -> tuple[np.ndarray, np.ndarray]:
        """N / size, from 1 to 2, and the mean distance at it."""
        groups = sorted(self.by_groups)
        sizes = np.array([1.0, *(g / (g - 1) for g in groups)])
        return sizes, np.array([self.full, *(self.by_groups[g].mean() for g in groups)])


def leave_groups_out(
    x: np.ndarray,
    y: np.ndarray,
    ddof: int = 1,
    seed: int = 0,
    splits: Mapping[int, int] | None = None,
    groups: tuple[np.ndarray, np.ndarray] | None = None,
) -> LeftOut:
    """Distances of parts of float [N, D] and float [M, D]; N, M >= 8. ddof: see `frechet_distance`. seed: of the
    splits.

    splits: parts -> how many splits; 2 must be among them, each at least twice; None: SPLITS, and more for few clips.
    groups: for each row of x and of y the group, int64 [N] and [M], of those it is not independent of; None: all are.
    Both sets are split independently.
    Covariances of the parts are differences of sums that are made once, so that one distance costs O(D³), not O(N D²).
    """
    rng = np.random.default_rng(seed)
    fewest = min(len(x), len(y)) if groups is None else min(len(np.unique(codes)) for codes in groups)
    splits = splits_of(min(len(x), len(y)), fewest) if splits is None else splits
    left = _left_out_distance(x, y, ddof)
    with one_thread():
        by_groups = {
            parts: np.array([[left(i, j) for i, j in _pairs_of_parts(x, y, parts, rng, groups)] for _ in range(count)])
            for parts, count in sorted(splits.items())
        }
    return LeftOut(frechet_distance(x, y, ddof), by_groups, fewest)


def splits_of(rows: int, groups: int) -> dict[int, int]:
    """Parts -> how many splits into them, for sets of so many rows in so many groups: more where there are few rows."""
    more = int(np.clip(_FEW_ROWS // rows, 1, _MOST_SPLITS))
    return {parts: count * more for parts, count in SPLITS.items() if parts <= groups}


def one_thread() -> AbstractContextManager[Any]:
    """BLAS on one thread: many small products gain nothing from two, and on a busy machine, where the two wait for each
    other, a second becomes half a minute.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:  # an installation of before it was needed: slower there, with the same numbers
        return nullcontext()
    return threadpool_limits(1, "blas")


def fvd_infinity(x: np.ndarray, y: np.ndarray, ddof: int = 1, seed: int = 0) -> tuple[float, float]:
    """The distance extrapolated to infinitely many clips, and its standard error; see `LeftOut`. Meaningful where N / 2
    > D: with fewer clips than dimensions distances do not lie on the line.
    """
    found = leave_groups_out(x, y, ddof, seed)
    return found.infinity, found.infinity_error


def _pairs_of_parts(
    x: np.ndarray, y: np.ndarray, parts: int, rng: np.random.Generator, groups: tuple[np.ndarray, np.ndarray] | None
) -> Iterator[tuple[Rows, Rows]]:
    if groups is None:
        return zip(*(np.array_split(rng.permutation(len(rows)), parts) for rows in (x, y)), strict=True)
    return zip(*(random_parts(codes, parts, rng) for codes in groups), strict=True)


def _left_out_distance(x: np.ndarray, y: np.ndarray, ddof: int) -> Left:
    """A function of the rows of x and of y to leave out."""
    if min(len(x), len(y)) // 2 <= x.shape[1]:
        return lambda i, j: frechet_distance(np.delete(x, i, axis=0), np.delete(y, j, axis=0), ddof)
    whole_x, whole_y = Moments.of(x), Moments.of(y)

    def distance(i: Rows, j: Rows) -> float:
        left_x, left_y = whole_x.without(Moments.of(x[i])), whole_y.without(Moments.of(y[j]))
        return frechet_from_moments(left_x.mean, left_x.covariance(ddof), left_y.mean, left_y.covariance(ddof))

    return distance


def _intercept_weights(positions: np.ndarray) -> np.ndarray:
    """Weights of the values at `positions` in the intercept of their least-squares line."""
    centred = positions - positions.mean()
    return 1 / len(positions) - positions.mean() * centred / np.square(centred).sum()
