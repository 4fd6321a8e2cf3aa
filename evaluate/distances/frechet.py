"""Fréchet distance of two Gaussians fitted to features, without a matrix square root."""

from typing import Literal

import numpy as np

from clipmill.curate.errors import UserError

# Error of a squared singular value, in units of the largest one, over which singular values are computed themselves.
_EIGEN_ROUNDING = 4 * np.finfo(np.float64).eps
_RELATIVE_TOLERANCE = 1e-10
# The published float32 code leaves smaller singular values as they are.
_SINGLE_FLOOR = 1e-10


def frechet_distance(
    x: np.ndarray, y: np.ndarray, ddof: int = 1, dtype: Literal["float64", "float32"] = "float64"
) -> float:
    """|mean x - mean y|² + tr(Sx + Sy - 2 (Sx Sy)^1/2) of float [N, D] and float [M, D] (Dowson and Landau 1982; Heusel
    et al. 2017, equation 6). Zero for equal sets up to rounding, symmetric, and blind to the order of rows.

    With F the centred rows / sqrt(N - ddof), so that FᵀF is the covariance, the last trace is the sum of the singular
    values of Fx Fyᵀ. F has N rows where N < D (nothing of size D x D is made, and a deficient rank costs no accuracy),
    else it is triangular, from Cholesky or, where the covariance is singular, QR.

    ddof: 1 in the original code, 0 in StyleGAN-V's and cd-fvd's. dtype: float32 repeats what VideoGPT's and TATS's code
    computes (moments, and symmetric roots by SVD, in single precision); it is off by 1e-7 to 1e-2 of the value, and
    never exactly the same on two machines. Raises UserError for N <= ddof, differing dimensions, or numbers that are
    not finite.
    """
    _check(x, y, ddof)
    if dtype == "float32":
        return _single_precision_distance(x.astype(np.float32), y.astype(np.float32), ddof)
    (mean_x, factor_x), (mean_y, factor_y) = (mean_and_factor(rows, ddof) for rows in (x, y))
    return distance_of_factors(mean_x, factor_x, mean_y, factor_y)


def frechet_from_moments(mean_x: np.ndarray, cov_x: np.ndarray, mean_y: np.ndarray, cov_y: np.ndarray) -> float:
    """The same from means, float64 [D], and covariances, float64 [D, D]. Where N < D it is less accurate than from
    rows: rounding of the covariances' empty directions enters as its square root, about 1e-8 of their largest one.
    """
    return distance_of_factors(mean_x, _factor_of_covariance(cov_x), mean_y, _factor_of_covariance(cov_y))


def nuclear_norm(a: np.ndarray, b: np.ndarray, tolerance: float) -> float:
    """Sum of the singular values of a bᵀ. a: float64 [N, D], b: float64 [M, D].

    Eigenvalues of the squared matrix are three times as fast; their rounding is that of the largest, so the root of a
    small one is off by rounding / root. Where that may sum up to more than `tolerance`, the singular values are
    computed themselves.
    """
    from scipy.linalg import eigh, svdvals

    product = a @ b.T
    if product.shape[0] > product.shape[1]:
        product = product.T
    squares = eigh(product @ product.T, eigvals_only=True, driver="evr", check_finite=False)
    rounding = _EIGEN_ROUNDING * max(float(squares[-1]), 0.0)
    if squares[0] > rounding and float((rounding / (2 * np.sqrt(squares))).sum()) <= tolerance:
        return float(np.sqrt(squares).sum())
    return float(svdvals(product, check_finite=False).sum())


def distance_of_factors(mean_x: np.ndarray, factor_x: np.ndarray, mean_y: np.ndarray, factor_y: np.ndarray) -> float:
    """factor_x, factor_y: F of each set, see `frechet_distance`."""
    traces = float(np.vdot(factor_x, factor_x) + np.vdot(factor_y, factor_y))
    cross = nuclear_norm(factor_x, factor_y, _RELATIVE_TOLERANCE * traces)
    return float(np.square(mean_x - mean_y).sum()) + (traces - 2 * cross)


def _check(x: np.ndarray, y: np.ndarray, ddof: int) -> None:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1]:
        raise UserError(f"features of shape {list(x.shape)} and {list(y.shape)} cannot be compared")
    if min(len(x), len(y)) <= ddof:
        raise UserError(
            f"a Fréchet distance needs more than {ddof} clips on each side, there are {len(x)} and {len(y)}"
        )
    # One number that is not finite makes its sum so, in a third of the time of looking at each.
    with np.errstate(invalid="ignore", over="ignore"):
        if not np.isfinite([rows.sum(dtype=np.float64) for rows in (x, y)]).all():
            raise UserError("features hold numbers that are not finite")


def mean_and_factor(rows: np.ndarray, ddof: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean, and F with FᵀF = covariance and as few rows as may be."""
    centred = rows.astype(np.float64)
    mean = centred.mean(axis=0)
    centred -= mean
    if len(rows) >= rows.shape[1]:
        try:
            return mean, np.linalg.cholesky(centred.T @ centred / (len(rows) - ddof)).T
        except np.linalg.LinAlgError:
            centred = np.asarray(np.linalg.qr(centred, mode="r"))
    return mean, centred / np.sqrt(len(rows) - ddof)


def _factor_of_covariance(covariance: np.ndarray) -> np.ndarray:
    try:
        return np.linalg.cholesky(covariance).T
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        return np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T


def _single_precision_distance(x: np.ndarray, y: np.ndarray, ddof: int) -> float:
    """What the published float32 code computes, in float32 throughout."""
    (mean_x, cov_x), (mean_y, cov_y) = (_single_precision_moments(rows, ddof) for rows in (x, y))
    u, s, vh = np.linalg.svd(cov_x)
    root = (u * _single_root(s)) @ vh
    u, s, vh = np.linalg.svd(root @ (cov_y @ root))
    cross = ((u * _single_root(s)) @ vh).trace(dtype=np.float32)
    return float(np.square(mean_x - mean_y).sum() + (cov_x + cov_y).trace(dtype=np.float32) - 2 * cross)


def _single_precision_moments(rows: np.ndarray, ddof: int) -> tuple[np.ndarray, np.ndarray]:
    mean = rows.mean(axis=0)
    centred = rows - mean
    return mean, centred.T @ centred / np.float32(len(rows) - ddof)


def _single_root(values: np.ndarray) -> np.ndarray:
    return np.where(values < _SINGLE_FLOOR, values, np.sqrt(values))
