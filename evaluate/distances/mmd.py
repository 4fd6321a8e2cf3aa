"""Maximum mean discrepancy with a polynomial kernel: the kernel distances behind KVD, KID and JEDi."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from clipmill.curate.errors import UserError

_BLOCK_ROWS = 2048
_MIN_ROWS = 2


@dataclass(frozen=True)
class PolynomialKernel:
    """k(a, b) = (gamma a.b + coef)^degree. gamma: None for 1 / D.

    KVD and KID: degree 3, gamma 1/D, coef 1 (Binkowski et al. 2018, arXiv 1801.01401). JEDi: degree 2, coef 0 (arXiv
    2410.05203).
    """

    degree: int = 3
    gamma: float | None = None
    coef: float = 1.0

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """float [N, D], float [M, D] -> float64 [N, M]."""
        gamma = 1 / a.shape[1] if self.gamma is None else self.gamma
        product = a.astype(np.float64) @ b.astype(np.float64).T
        product *= gamma
        product += self.coef
        power = product.copy()
        for _ in range(self.degree - 1):
            power *= product
        return power


@dataclass(frozen=True)
class KernelSums:
    """Of one kernel matrix: rows [N] and columns [M], their squares' total, and the diagonal [N] (of a set with itself,
    else zeros).
    """

    rows: np.ndarray
    columns: np.ndarray
    squares: float
    diagonal: np.ndarray


@dataclass(frozen=True)
class MMD:
    """value: squared MMD. standard_error: of the value over fresh draws of both sets, None below four rows."""

    value: float
    standard_error: float | None


def polynomial_mmd(
    x: np.ndarray, y: np.ndarray, degree: int = 3, gamma: float | None = None, coef: float = 1.0, unbiased: bool = True
) -> float:
    """Squared MMD of float [N, D] and float [M, D], in float64 and in memory that does not grow with N M.

    unbiased: without the kernel of a row with itself (Gretton et al., JMLR 2012, lemma 6); it may be negative.
    Otherwise plain means. Raises UserError for fewer than two rows, differing dimensions, or numbers that are not
    finite.
    """
    _check(x, y)
    kernel = PolynomialKernel(degree, gamma, coef)
    within = [_sums(s, None, kernel) for s in (x, y)]
    return _value(within[0], within[1], _sums(x, y, kernel), unbiased)


def mmd_with_error(
    x: np.ndarray, y: np.ndarray, degree: int = 3, gamma: float | None = None, coef: float = 1.0, unbiased: bool = True
) -> MMD:
    """`polynomial_mmd` with its standard error, from the same kernel matrices.

    The jackknife (leave one row out, both sets) sees the linear part of the statistic once and its degenerate part
    twice (Efron and Stein, Annals of Statistics 1981); the degenerate part, known from the doubly centred kernels, is
    taken off once.
    """
    _check(x, y)
    kernel = PolynomialKernel(degree, gamma, coef)
    xx, yy, xy = _sums(x, None, kernel), _sums(y, None, kernel), _sums(x, y, kernel)
    value = _value(xx, yy, xy, unbiased)
    if min(len(x), len(y)) < 4:
        return MMD(value, None)
    jackknife = _jackknife_variance(xx, xy.rows, len(y)) + _jackknife_variance(yy, xy.columns, len(x))
    degenerate = degenerate_variance(xx, yy, xy)
    return MMD(value, float(np.sqrt(max(jackknife - degenerate, degenerate, 0.0))))


def block_mmd(
    x: np.ndarray,
    y: np.ndarray,
    degree: int = 3,
    gamma: float | None = None,
    coef: float = 1.0,
    max_block: int = 1024,
    seed: int = 0,
) -> MMD:
    """Mean of the unbiased squared MMD over disjoint blocks of at most `max_block` rows, and its standard error: that
    of a mean of independent numbers, None for a single block. Rows are shuffled by `seed`, as clips often lie sorted by
    class.

    The estimator of TensorFlow-GAN (`kernel_classifier_distance_and_std_from_activations`), which takes rows as they
    come.
    """
    _check(x, y)
    blocks = -(-max(len(x), len(y)) // max_block)
    if min(len(x), len(y)) < _MIN_ROWS * blocks:
        raise UserError(f"{min(len(x), len(y))} clips do not fill {blocks} blocks")
    rng = np.random.default_rng(seed)
    parts = [np.array_split(rng.permutation(len(s)), blocks) for s in (x, y)]
    values = np.array([polynomial_mmd(x[i], y[j], degree, gamma, coef) for i, j in zip(*parts, strict=True)])
    return MMD(float(values.mean()), float(values.std(ddof=1) / np.sqrt(blocks)) if blocks > 1 else None)


def subset_mmd(
    x: np.ndarray,
    y: np.ndarray,
    degree: int = 3,
    gamma: float | None = None,
    coef: float = 1.0,
    subsets: int = 100,
    max_subset: int = 1000,
    seed: int = 2020,
) -> tuple[float, float]:
    """Mean and standard deviation (ddof 0) of the unbiased squared MMD over `subsets` draws of min(N, M, max_subset)
    rows of each set.

    The estimator of torch-fidelity's and others' KID. The draws overlap: the deviation tells how one subset scatters,
    and is no standard error of the mean.
    """
    _check(x, y)
    rng, size = np.random.RandomState(seed), min(len(x), len(y), max_subset)
    values = [
        polynomial_mmd(
            x[rng.choice(len(x), size, replace=False)], y[rng.choice(len(y), size, replace=False)], degree, gamma, coef
        )
        for _ in range(subsets)
    ]
    return float(np.mean(values)), float(np.std(values))


def _check(x: np.ndarray, y: np.ndarray) -> None:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise UserError(f"features of shape {list(x.shape)} and {list(y.shape)} cannot be compared")
    if min(len(x), len(y)) < _MIN_ROWS:
        raise UserError(
            f"a kernel distance needs at least {_MIN_ROWS} clips on each side, there are {len(x)} and {len(y)}"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UserError("features hold numbers that are not finite")


def _slices(count: int) -> Iterator[slice]:
    return (slice(at, min(at + _BLOCK_ROWS, count)) for at in range(0, count, _BLOCK_ROWS))


def _sums(x: np.ndarray, y: np.ndarray | None, kernel: PolynomialKernel) -> KernelSums:
    """Of x with y, or of x with itself, where only one triangle of blocks is computed."""
    other = x if y is None else y
    rows, columns, squares, diagonal = np.zeros(len(x)), np.zeros(len(other)), 0.0, np.zeros(len(x))
    for i in _slices(len(x)):
        for j in _slices(len(other)):
            if y is None and j.start < i.start:
                continue
            block = kernel(x[i], other[j])
            mirrored = y is None and j.start > i.start
            rows[i] += block.sum(axis=1)
            columns[j] += block.sum(axis=0)
            squares += float(np.vdot(block, block)) * (2 if mirrored else 1)
            if mirrored:
                rows[j] += block.sum(axis=0)
            elif y is None:
                diagonal[i] = np.diagonal(block)
    return KernelSums(rows, rows if y is None else columns, squares, diagonal)


def _value(xx: KernelSums, yy: KernelSums, xy: KernelSums, unbiased: bool) -> float:
    n, m = len(xx.rows), len(yy.rows)
    if unbiased:
        within = [(s.rows.sum() - s.diagonal.sum()) / (k * (k - 1)) for s, k in ((xx, n), (yy, m))]
    else:
        within = [s.rows.sum() / k**2 for s, k in ((xx, n), (yy, m))]
    return float(within[0] + within[1] - 2 * xy.rows.sum() / (n * m))


def _jackknife_variance(within: KernelSums, cross: np.ndarray, others: int) -> float:
    """Of leaving out one row of one set. cross: float64 [N], kernel sums of its rows with the `others` rows of the
    other set.
    """
    n = len(cross)
    own = within.rows - within.diagonal
    without = (own.sum() - 2 * own) / ((n - 1) * (n - 2)) - 2 * (cross.sum() - cross) / ((n - 1) * others)
    return float((n - 1) * without.var())


def degenerate_variance(xx: KernelSums, yy: KernelSums, xy: KernelSums) -> float:
    """Of the part of the statistic that no single row decides: sums over pairs of the doubly centred kernels
    (Hoeffding).
    """
    n, m = len(xx.rows), len(yy.rows)
    variance = 2 * _centred_square_mean(xx) / (n * (n - 1)) + 2 * _centred_square_mean(yy) / (m * (m - 1))
    # Mean square of a two-way table after its row and column means.
    grand = xy.rows.sum() / (n * m)
    left = xy.squares - np.square(xy.rows).sum() / m - np.square(xy.columns).sum() / n + n * m * grand**2
    return float(variance + 4 * left / ((n - 1) * (m - 1)) / (n * m))


def _centred_square_mean(within: KernelSums) -> float:
    """Unbiased mean of squares of the off-diagonal kernel after row effects, as in U-centring (Szekely and Rizzo
    2014).
    """
    n = len(within.rows)
    own, squares = within.rows - within.diagonal, within.squares - np.square(within.diagonal).sum()
    centred = squares - 2 * np.square(own).sum() / (n - 2) + own.sum() ** 2 / ((n - 1) * (n - 2))
    return max(float(centred), 0.0) / (n * (n - 3))
