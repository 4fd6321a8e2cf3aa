"""Permutation tests of a difference: how often it is as large where the names of the two sets mean nothing."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from clipmill.evaluate.versus.differences import Difference
from clipmill.evaluate.versus.matching import Units

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Permuted:
    """Of the differences under permutation, how many are below, equal to, and above the one that was observed."""

    below: int
    equal: int
    above: int

    @property
    def draws(self) -> int:
        """How many permutations."""
        return self.below + self.equal + self.above

    @property
    def p_value(self) -> float:
        """Two-sided; the observed difference is one of the permutations, ties count against it (Phipson and Smyth 2010,
        arXiv 1603.05766). Never below 2 / (draws + 1).
        """
        tail = min(self.below, self.above) + self.equal + 1
        return min(1.0, 2 * tail / (self.draws + 1))

    def randomised(self, uniform: float) -> float:
        """The p-value with ties broken by a uniform number, 0 to 1: exactly uniform where the sets are exchangeable."""
        place = (self.below + uniform * (self.equal + 1)) / (self.draws + 1)
        return 2 * min(place, 1 - place)


def permuted(
    difference: Difference, units: Units, n_first: int, draws: int, seed: int, tick: Callable[[], None] = lambda: None
) -> Permuted:
    """Test the difference of two sets. n_first: clips of the first set in the pool of `difference`.

    Paired units change sides whole, each with probability 1/2; the clips of independent sets are dealt out anew, unit
    by unit, as many units to each side as before. Both keep all that is known of the clips but which set they are of,
    and so the test has its level exactly, whatever the metric, where the sets are of one law.
    """
    first, second = units.rows_a, units.rows_b + n_first
    observed = difference.between(first, second)
    counts = [0, 0, 0]
    for a, b in _dealt(units, first, second, draws, seed):
        found = difference.between(a, b)
        same = math.isclose(found, observed, rel_tol=_ROUNDING)
        counts[1 if same else 0 if found < observed else 2] += 1
        tick()
    return Permuted(*counts)


def _dealt(
    units: Units, first: np.ndarray, second: np.ndarray, draws: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    if units.paired:
        count = int(units.codes_a.max()) + 1
        for _ in range(draws):
            swapped = rng.integers(0, 2, count).astype(bool)[units.codes_a]
            yield np.where(swapped, second, first), np.where(swapped, first, second)
        return
    n_a = int(units.codes_a.max()) + 1
    pool, codes = np.concatenate([first, second]), np.concatenate([units.codes_a, units.codes_b + n_a])
    for _ in range(draws):
        chosen = np.zeros(int(codes.max()) + 1, bool)
        chosen[rng.permutation(len(chosen))[:n_a]] = True
        yield pool[chosen[codes]], pool[~chosen[codes]]
