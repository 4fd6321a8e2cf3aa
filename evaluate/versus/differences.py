"""The difference of two sets in one number, for any clips of their pool: what permutations and jackknives ask again and
again.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clipmill.evaluate.distances.frechet import distance_of_factors, mean_and_factor
from clipmill.evaluate.distances.mmd import PolynomialKernel

Rows = np.ndarray
"""int64, of the pool: the clips of the first set, then those of the second."""


class Difference(ABC):
    """The first set's number less the second's. n_real: real clips, 0 where none are part of it."""

    n_real: int = 0

    @abstractmethod
    def between(self, first: Rows, second: Rows, real: Rows | None = None) -> float:
        """Of these clips of the pool, as two sets; real: of these real clips alone."""

    @abstractmethod
    def alone(self, rows: Rows, real: Rows | None = None) -> float:
        """The number of these clips, of which the difference is; real: of these real clips alone."""


class MeanDifference(Difference):
    """Of means of one value a clip; where neither high nor low is good, of their distances from the real mean.

    pool: float64 [N + M]. real: float64 [R], None where the values themselves are compared.
    """

    def __init__(self, pool: np.ndarray, real: np.ndarray | None = None) -> None:
        self._pool, self._real = pool, real
        self.n_real = 0 if real is None else len(real)

    def between(self, first: Rows, second: Rows, real: Rows | None = None) -> float:
        """See `Difference`."""
        means = self._pool[first].mean(), self._pool[second].mean()
        if self._real is None:
            return float(means[0] - means[1])
        aim = (self._real if real is None else self._real[real]).mean()
        return float(abs(means[0] - aim) - abs(means[1] - aim))

    def alone(self, rows: Rows, real: Rows | None = None) -> float:
        """See `Difference`."""
        mean = self._pool[rows].mean()
        if self._real is None:
            return float(mean)
        return float(abs(mean - (self._real if real is None else self._real[real]).mean()))

    def added(self, first: Rows, second: Rows) -> tuple[np.ndarray, np.ndarray]:
        """What each clip adds to the difference, of sum zero: float64 [len(first)] and [len(second)], the second to be
        taken off.
        """
        signs = self._signs(first, second)
        a, b = (
            (self._pool[r] - self._pool[r].mean()) * sign / len(r)
            for r, sign in zip((first, second), signs, strict=False)
        )
        return a, b

    def added_by_real(self, first: Rows, second: Rows) -> np.ndarray:
        """The same of each real clip, float64 [R]."""
        assert self._real is not None
        a, b = self._signs(first, second)
        return (b - a) * (self._real - self._real.mean()) / len(self._real)

    def _signs(self, first: Rows, second: Rows) -> tuple[float, float]:
        """Of the means: 1, or on which side of the real mean they are."""
        if self._real is None:
            return 1.0, 1.0
        aim = self._real.mean()
        return tuple(float(np.sign(self._pool[r].mean() - aim)) for r in (first, second))  # type: ignore[return-value]


class FrechetDifference(Difference):
    """Of Fréchet distances to the real clips. pool: float [N + M, D]. real: float [R, D]."""

    def __init__(self, pool: np.ndarray, real: np.ndarray, ddof: int = 1) -> None:
        self._pool, self._real, self._ddof = pool.astype(np.float64), real.astype(np.float64), ddof
        self._whole = mean_and_factor(self._real, ddof)
        self.n_real = len(real)

    def between(self, first: Rows, second: Rows, real: Rows | None = None) -> float:
        """See `Difference`."""
        return self.alone(first, real) - self.alone(second, real)

    def alone(self, rows: Rows, real: Rows | None = None) -> float:
        """See `Difference`."""
        to = self._whole if real is None else mean_and_factor(self._real[real], self._ddof)
        return distance_of_factors(*mean_and_factor(self._pool[rows], self._ddof), *to)


class KernelDifference(Difference):
    """Of unbiased squared MMDs to the real clips, from kernel matrices that are made once; the real clips' own part
    cancels. pool: float [N + M, D]. real: float [R, D]. Memory grows with (N + M)² and R².
    """

    def __init__(self, pool: np.ndarray, real: np.ndarray, kernel: PolynomialKernel, scale: float = 1.0) -> None:
        self._own, self._cross, self._scale = kernel(pool, pool), kernel(pool, real), scale
        np.fill_diagonal(self._own, 0.0)
        self._to_all = self._cross.mean(axis=1)
        self._of_real = kernel(real, real)
        np.fill_diagonal(self._of_real, 0.0)
        self.n_real = len(real)

    def between(self, first: Rows, second: Rows, real: Rows | None = None) -> float:
        """See `Difference`."""
        to = self._to_all if real is None else self._cross[:, real].mean(axis=1)
        a, b = (_within(self._own, rows) - 2 * float(to[rows].mean()) for rows in (first, second))
        return self._scale * (a - b)

    def alone(self, rows: Rows, real: Rows | None = None) -> float:
        """See `Difference`."""
        every = np.arange(self.n_real) if real is None else real
        to = self._to_all if real is None else self._cross[:, real].mean(axis=1)
        own = _within(self._of_real, every) + _within(self._own, rows)
        return self._scale * (own - 2 * float(to[rows].mean()))


def _within(kernel: np.ndarray, rows: Rows) -> float:
    """Mean of a kernel matrix without its diagonal, over pairs of `rows`."""
    mask = np.zeros(len(kernel))
    mask[rows] = 1
    return float(mask @ (kernel @ mask)) / (len(rows) * (len(rows) - 1))


@dataclass(frozen=True)
class AnyDifference(Difference):
    """Of any metric on features. pool: float [N + M, ...]. real: float [R, ...]. metric: features of real and of fake
    clips -> number.
    """

    pool: np.ndarray
    real: np.ndarray
    metric: Callable[[np.ndarray, np.ndarray], float]

    @property
    def n_real(self) -> int:  # type: ignore[override]
        """See `Difference`."""
        return len(self.real)

    def between(self, first: Rows, second: Rows, real: Rows | None = None) -> float:
        """See `Difference`."""
        return self.alone(first, real) - self.alone(second, real)

    def alone(self, rows: Rows, real: Rows | None = None) -> float:
        """See `Difference`."""
        return self.metric(self.real if real is None else self.real[real], self.pool[rows])
