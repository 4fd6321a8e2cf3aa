"""The error of a kernel distance whose rows are not independent: groups of them are left out whole."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from clipmill.evaluate.distances.mmd import MMD, KernelSums, PolynomialKernel, degenerate_variance, polynomial_mmd

_BLOCK_ROWS = 2048
_MIN_GROUPS = 4


def grouped_mmd(
    x: np.ndarray,
    y: np.ndarray,
    groups: tuple[np.ndarray, np.ndarray],
    kernel: PolynomialKernel | None = None,
    unbiased: bool = True,
) -> MMD:
    """`mmd_with_error` of float [N, D] and float [M, D] whose rows belong to groups, int64 [N] and [M] (see
    `group_codes`). The value is the same; the error is None below four groups.

    Delete-a-group jackknife, groups weighed by their size as in Busing, Meijer and van der Leeden, "Delete-m jackknife
    for unequal m" (Statistics and Computing 1999). As with single rows, it sees the degenerate part twice, which is
    taken off once; that part is that of the groups' mean kernels, exact where the groups are of one size.
    """
    kernel = kernel or PolynomialKernel()
    value = polynomial_mmd(x, y, kernel.degree, kernel.gamma, kernel.coef, unbiased)
    a, b = _sorted(x, groups[0]), _sorted(y, groups[1])
    if min(len(a.sizes), len(b.sizes)) < _MIN_GROUPS:
        return MMD(value, None)
    aa, bb, ab = _group_sums(a, a, kernel), _group_sums(b, b, kernel), _group_sums(a, b, kernel)
    jackknife = _jackknife_variance(a, aa, ab.rows, len(y)) + _jackknife_variance(b, bb, ab.columns, len(x))
    # Rows in a group, on average.
    m, n = len(x) / len(a.sizes), len(y) / len(b.sizes)
    degenerate = degenerate_variance(_scaled(aa, m * m), _scaled(bb, n * n), _scaled(ab, m * n))
    return MMD(value, float(np.sqrt(max(jackknife - degenerate, degenerate, 0.0))))


@dataclass(frozen=True)
class _Sorted:
    """rows: float [N, D], those of a group side by side. sizes: int64 [G]. own: float64 [G], kernel of rows with
    themselves, summed.
    """

    rows: np.ndarray
    sizes: np.ndarray

    def blocks(self) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Groups, their rows, and where each group begins among these: as many as have about 2,048 rows."""
        ends = np.cumsum(self.sizes)
        at = 0
        while at < len(ends):
            first = ends[at] - self.sizes[at]
            stop = max(at + 1, int(np.searchsorted(ends, first + _BLOCK_ROWS, side="right")))
            yield slice(at, stop), slice(first, ends[stop - 1]), ends[at:stop] - self.sizes[at:stop] - first
            at = stop


def _sorted(rows: np.ndarray, groups: np.ndarray) -> _Sorted:
    return _Sorted(rows[np.argsort(groups, kind="stable")], np.bincount(groups))


def _group_sums(a: _Sorted, b: _Sorted, kernel: PolynomialKernel) -> KernelSums:
    """Sums of the kernel over pairs of groups, of which only their own sums are kept."""
    rows, columns, squares, diagonal = np.zeros(len(a.sizes)), np.zeros(len(b.sizes)), 0.0, np.zeros(len(a.sizes))
    for groups, span, starts in a.blocks():
        for other_groups, other_span, other_starts in b.blocks():
            pairs = kernel(a.rows[span], b.rows[other_span])
            block = np.add.reduceat(np.add.reduceat(pairs, starts, axis=0), other_starts, axis=1)
            rows[groups] += block.sum(axis=1)
            columns[other_groups] += block.sum(axis=0)
            squares += float(np.vdot(block, block))
            if a is b and groups == other_groups:
                diagonal[groups] = np.diagonal(block)
    return KernelSums(rows, columns, squares, diagonal)


def _scaled(sums: KernelSums, pairs: float) -> KernelSums:
    """Means over `pairs` pairs of rows."""
    return KernelSums(sums.rows / pairs, sums.columns / pairs, sums.squares / pairs**2, sums.diagonal / pairs)


def _jackknife_variance(s: _Sorted, within: KernelSums, cross: np.ndarray, others: int) -> float:
    """Of leaving out one group of one set. cross: float64 [G], kernel sums of its groups with the `others` rows of the
    other set.
    """
    n, m = len(s.rows), s.sizes
    total, across = within.rows.sum(), cross.sum()
    # Pairs within a group, which the statistic counts, hold the kernel of rows with themselves: left in, as a constant
    # share, in all that is compared.
    left = n - m
    without = (total - 2 * within.rows + within.diagonal) / left**2 - 2 * (across - cross) / (left * others)
    full = total / n**2 - 2 * across / (n * others)
    ratio = n / m
    pseudo = ratio * full - (ratio - 1) * without
    centre = len(m) * full - ((1 - m / n) * without).sum()
    return float((np.square(pseudo - centre) / (ratio - 1)).mean())
