"""Our Fréchet distance beside SciPy's matrix square root: `python benchmarks/frechet_speed.py` prints its table of
docs/measured.md.

Once from features to the number, means and covariances included, and once from given means and covariances; all take
turns, medians are printed. The peer is what published FVD code does: numpy's covariance, sqrtm of the product, real
part of the trace. Its speed depends on SciPy's version and on the number of threads, so both are printed.
"""

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
import scipy
from scipy.linalg import sqrtm

from clipmill.evaluate.distances.frechet import frechet_distance, frechet_from_moments

CASES = ((400, 2048), (400, 256), (2048, 2048), (2048, 256))


def moments(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    """Means and covariances as published code makes them."""
    return x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False)


def sqrtm_of_moments(mean_x: np.ndarray, cov_x: np.ndarray, mean_y: np.ndarray, cov_y: np.ndarray) -> float:
    """The peer. No `disp`: SciPy 1.18 no longer knows it."""
    root = np.real(sqrtm(cov_x @ cov_y))
    return float(np.square(mean_x - mean_y).sum() + np.trace(cov_x + cov_y - 2 * root))


def timed(function: Callable[[], float]) -> tuple[float, float]:
    """Seconds and the number."""
    start_s = time.perf_counter()
    value = function()
    return time.perf_counter() - start_s, value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--largest", type=int, default=2048, help="leave out cases of more dimensions")
    arguments = parser.parse_args()
    print(f"SciPy {scipy.__version__}, OPENBLAS_NUM_THREADS={os.environ.get('OPENBLAS_NUM_THREADS', 'unset')}\n")
    print(
        "| dimensions | clips | features: sqrtm, s | ours, s | ratio | moments: sqrtm, s | ours, s | ratio |"
        " disagreement |"
    )
    print("|---" * 9 + "|")
    for dim, clips in CASES:
        if dim <= arguments.largest:
            print(row(dim, clips, arguments.repeats if dim < 1000 else max(1, arguments.repeats // 3)), flush=True)


def row(dim: int, clips: int, repeats: int) -> str:
    """One line of the table."""
    rng = np.random.default_rng(0)
    spectrum = np.sqrt(1 / np.arange(1, dim + 1))
    x, y = (rng.standard_normal((clips, dim)) * spectrum * scale for scale in (1.0, 1.1))
    given = moments(x, y)
    contestants = (
        lambda: sqrtm_of_moments(*moments(x, y)),
        lambda: frechet_distance(x, y),
        lambda: sqrtm_of_moments(*given),
        lambda: frechet_from_moments(*given),
    )
    runs = [[timed(function) for function in contestants] for _ in range(repeats)]
    peer, ours, peer_given, ours_given = (float(np.median([run[k][0] for run in runs])) for k in range(4))
    off = abs(runs[0][0][1] / runs[0][1][1] - 1)
    cells = [f"{dim}", f"{clips}", f"{peer:.3f}", f"{ours:.4f}", f"{ours / peer:.3f}"]
    cells += [f"{peer_given:.3f}", f"{ours_given:.4f}", f"{ours_given / peer_given:.3f}", f"{off:.1e}"]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
