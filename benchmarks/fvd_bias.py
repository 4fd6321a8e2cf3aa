"""Bias and error bar of a Fréchet distance against the truth: `python benchmarks/fvd_bias.py` prints its table of
docs/measured.md.

Gaussian sets in 400 dimensions, variances falling as 1/k, at a known distance of 1.591. Printed per number of clips,
over fresh draws of both sets: the plug-in distance; its extrapolation to infinitely many clips, and how many of the
draws come within 10 and 5 % of the truth; the standard error that one draw states (median) beside the spread that it
should be; the kernel distance, for its lack of bias.
"""

import argparse
import time

import numpy as np

from clipmill.evaluate.distances.error_bar import leave_groups_out
from clipmill.evaluate.distances.mmd import mmd_with_error

DIM, DISTANCE, SCALE = 400, 1.591, 1.1
COLUMNS = (
    "clips", "plug-in (truth 1.591)", "FVD-infinity, mean of draws", "its spread (stated)", "draws within 10 / 5 %",
    "spread of the plug-in", "stated standard error", "kernel distance", "its spread (stated)", "s per error bar",
)  # fmt: skip


def gaussian_sets(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """float64 [n, 400] twice; the second law is the first, scaled by 1.1 and shifted."""
    variances = 8.9 / np.arange(1, DIM + 1)
    rng = np.random.default_rng(seed)
    x, y = (rng.standard_normal((n, DIM)) * np.sqrt(variances) for _ in range(2))
    return x, SCALE * y + np.sqrt((DISTANCE - (SCALE - 1) ** 2 * variances.sum()) / DIM)


def row(n: int, draws: int) -> list[str]:
    """The cells of one line."""
    found, kernel, took_s = [], [], 0.0
    for seed in range(draws):
        x, y = gaussian_sets(n, seed)
        start_s = time.perf_counter()
        found.append(leave_groups_out(x, y))
        took_s += time.perf_counter() - start_s
        kernel.append(mmd_with_error(x, y))
    plug_in, stated = np.array([f.full for f in found]), np.median([f.standard_error for f in found])
    cells = [str(n), f"{plug_in.mean():.2f}"]
    if n // 2 > DIM:
        infinity = np.array([f.infinity for f in found])
        off = np.abs(infinity / DISTANCE - 1)
        cells.append(f"{infinity.mean():.3f} ({100 * (infinity.mean() / DISTANCE - 1):+.1f} %)")
        cells.append(f"{infinity.std(ddof=1):.3f} ({np.median([f.infinity_error for f in found]):.3f})")
        cells.append(f"{100 * (off < 0.10).mean():.0f} / {100 * (off < 0.05).mean():.0f} %")
    else:
        cells += ["(half of them are no more than dimensions)", "", ""]
    spread = plug_in.std(ddof=1)
    cells += [f"{spread:.3f}", f"{stated:.3f} ({100 * (stated / spread - 1):+.0f} %)"]
    values, errors = np.array([k.value for k in kernel]), [k.standard_error for k in kernel]
    return [
        *cells,
        f"{values.mean():.4f}",
        f"{values.std(ddof=1):.4f} ({np.median(errors):.4f})",
        f"{took_s / draws:.1f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=24)
    parser.add_argument("--clips", type=int, nargs="+", default=[256, 512, 1024, 2048])
    arguments = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---" * len(COLUMNS) + "|")
    for n in arguments.clips:
        print("| " + " | ".join(row(n, arguments.draws)) + " |", flush=True)


if __name__ == "__main__":
    main()
