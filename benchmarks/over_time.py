"""How long videos change with time: each window of `models sample --extend` against real windows of as many frames.

    python benchmarks/over_time.py REAL TITLE=SAMPLES [TITLE=SAMPLES ...] [--config demo] [--n 128]

REAL: a run of clips that the models have not seen; --config: a preset that says how its windows are read (frames,
stride, size). Distance: Fréchet, on the features of `mini` (no FVD); motion: mean optical flow, of real. A model that
forgets, blurs or comes to rest shows it in later windows. Prints a Markdown table, a row for each window.
"""

import argparse
from pathlib import Path

from demo_training import features, motion, samples, windows

from clipmill.evaluate.distances.frechet import frechet_distance
from clipmill.models.config import load


def rows(videos, real, moved, frames):
    """(distance, motion of real) of each window, uint8 [N, T, H, W, 3] one behind the other."""
    parts = [videos[:, begin : begin + frames] for begin in range(0, videos.shape[1] - frames + 1, frames)]
    return [(frechet_distance(real, features(part)), motion(part) / moved) for part in parts]


def table(found, frames):
    """Markdown. found: title -> `rows`, of equal lengths."""
    lines = [
        "| frames | " + " | ".join(f"{title}, distance | motion" for title in found) + " |",
        "|---" * (1 + 2 * len(found)) + "|",
    ]
    for number, cells in enumerate(zip(*found.values(), strict=True)):
        said = " | ".join(f"{distance:.1f} | {moves:.2f}" for distance, moves in cells)
        lines.append(f"| {number * frames} to {(number + 1) * frames - 1} | {said} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("real", type=Path)
    parser.add_argument("samples", nargs="+", help="TITLE=FOLDER, of one size")
    parser.add_argument("--config", default="demo")
    parser.add_argument("--n", type=int, default=128, help="real windows")
    options = parser.parse_args()
    config = load(options.config)
    real, _ = windows([options.real], config, options.n)
    known, moved = features(real), motion(real)
    folders = dict(text.split("=", 1) for text in options.samples)
    found = {title: rows(samples(folder), known, moved, real.shape[1]) for title, folder in folders.items()}
    print(table(found, real.shape[1]))


if __name__ == "__main__":
    main()
