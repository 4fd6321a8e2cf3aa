"""What each clip adds to a distance: about as many times how much it would fall without the clip as there are clips."""

import numpy as np

from clipmill.evaluate.distances.frechet import mean_and_factor
from clipmill.evaluate.distances.mmd import PolynomialKernel

_BLOCK_ROWS = 1024
# Of the largest eigenvalue; what is smaller is rounding.
_NO_VARIANCE = 1e-10


def frechet_shares(real: np.ndarray, fake: np.ndarray, ddof: int = 1) -> np.ndarray:
    """float [N, D], float [M, D] -> float64 [M], of sum zero: the influence function of the Fréchet distance at each
    fake row y, with c = y - mean: 2 (mean fake - mean real).c + c'(I - A)c, less its mean.

    A is the linear map that carries the fake Gaussian to the real one, F'(F S F')^-1/2 F for covariances F'F of the
    real and S of the fake rows (Dowson and Landau 1982): minus half of the derivative of the trace term is A. Of first
    order, and so rough where there are fewer clips than dimensions.
    """
    mean_real, factor = mean_and_factor(real, ddof)
    rows = fake.astype(np.float64)
    centred = rows - rows.mean(axis=0)
    seen = centred @ factor.T
    variances, axes = np.linalg.eigh(seen.T @ seen / max(len(rows) - ddof, 1))
    some = variances > _NO_VARIANCE * max(float(variances[-1]), 0.0)
    carried = np.square(seen @ axes[:, some]) / np.sqrt(variances[some])
    found = 2 * centred @ (rows.mean(axis=0) - mean_real) + np.square(centred).sum(axis=1) - carried.sum(axis=1)
    return found - found.mean()


def mmd_shares(real: np.ndarray, fake: np.ndarray, kernel: PolynomialKernel) -> np.ndarray:
    """float [N, D], float [M, D] -> float64 [M], of sum zero: twice the mean kernel of each fake row with the other
    fake rows, less that with the real rows, less the mean of it. M >= 2.
    """
    found = np.empty(len(fake))
    for at in range(0, len(fake), _BLOCK_ROWS):
        rows = slice(at, min(at + _BLOCK_ROWS, len(fake)))
        own, cross = kernel(fake[rows], fake), kernel(fake[rows], real)
        itself = own[np.arange(len(own)), np.arange(rows.start, rows.stop)]
        found[rows] = 2 * ((own.sum(axis=1) - itself) / (len(fake) - 1) - cross.mean(axis=1))
    return found - found.mean()
