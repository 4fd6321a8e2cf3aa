"""Which network should `curation_gain.py` train? Every candidate on pool A and on pool B alike, on videos that the
experiment never sees.

    python benchmarks/gain_settings.py [--work DIR] [--minutes 12] [--seed 0] [--samples 256] [--results FILE]

Each candidate has as many steps as about four minutes allow where two trainings share two cores. The rule, fixed before
the first one ran: the lowest mean of the distances of A and B wins, so that neither pool is favoured. Prints a Markdown
table, and writes its figures to FILE (DIR/gain_settings.json).
"""

import argparse
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from curation_gain import FRAMES, SIZES, held_out, pools, sampled, train
from demo_training import features, motion, samples, windows

from clipmill.evaluate.distances.frechet import frechet_distance
from clipmill.models.config import load

SOURCE_SEED, HELD_OUT = 10, (11, 6)
_SMALL = ("backbone.options.width=128", "backbone.options.depth=4")
_FAST = "train.learning_rate=3e-3"
_BLOCKS = ("autoencoder.options.space_factor=16", "autoencoder.options.components=192")
# A whole clip in one token cannot change its subject.
CANDIDATES = {
    "the preset, whole windows": ("train.steps=2400",),
    "blocks of 16 px and 8 frames, 192 components": (*_BLOCKS, "train.steps=1700"),
    "frames": (*FRAMES, "train.steps=450"),
    "frames, small": (*FRAMES, *_SMALL, "train.steps=1200"),
    "frames, small, 64 components, learning rate 3e-3": (
        *FRAMES,
        *_SMALL,
        "autoencoder.options.components=64",
        _FAST,
        "train.steps=1200",
    ),
    "frames, width 192, depth 4, 48 components, 3e-3": (
        *FRAMES,
        "backbone.options.width=192",
        "backbone.options.depth=4",
        "autoencoder.options.components=48",
        _FAST,
        "train.steps=800",
    ),
    "frames, width 512, a clip a token": (
        *FRAMES,
        "backbone.options.width=512",
        "backbone.options.patch=[8,1,1]",
        "train.steps=400",
    ),
    "frames, depth 4, 64 components, 3e-3, a clip a token": (
        *FRAMES,
        "backbone.options.depth=4",
        "backbone.options.patch=[8,1,1]",
        "autoencoder.options.components=64",
        _FAST,
        "train.steps=1200",
    ),
}


def tried(work, name, folders, real, real_motion, seed, count):
    """One row: a candidate trained on A and on B at the same time."""
    number = list(CANDIDATES).index(name)

    def one(pool):
        label, began = f"{number}-{pool}-", time.monotonic()
        known = (sampled(work, label, seed) / "manifest.parquet").is_file()
        train(work, folders[pool], label, seed, SIZES["cpu"], CANDIDATES[name], count)
        seconds, made = None if known else time.monotonic() - began, samples(sampled(work, label, seed))
        return {
            pool: frechet_distance(real, features(made)),
            f"motion {pool}": motion(made) / real_motion,
            f"seconds {pool}": seconds,
        }

    with ThreadPoolExecutor(2) as both:
        found = dict(item for part in both.map(one, ("A", "B")) for item in part.items())
    return {"candidate": name, "settings": CANDIDATES[name], "mean": (found["A"] + found["B"]) / 2} | found


def table(rows):
    """Markdown, in the order tried."""
    lines = [
        "| network | A | B | mean | motion, of real, A and B | minutes, both at once |",
        "|---|---|---|---|---|---|",
    ]
    best = min(row["mean"] for row in rows)
    for row in rows:
        name = f"**{row['candidate']}**" if row["mean"] == best else row["candidate"]
        moved = f"{row['motion A']:.2f}, {row['motion B']:.2f}"
        seconds = (row["seconds A"], row["seconds B"])
        minutes = "made before" if None in seconds else f"{max(seconds) / 60:.1f}"
        lines.append(f"| {name} | {row['A']:.1f} | {row['B']:.1f} | {row['mean']:.1f} | {moved} | {minutes} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        folders = {name: pool for name, (pool, _) in pools(work, SOURCE_SEED, options.minutes).items()}
        reference, _ = windows([held_out(work, *HELD_OUT)], load("demo"), options.samples)
        real, real_motion = features(reference), motion(reference)
        rows = [tried(work, name, folders, real, real_motion, options.seed, options.samples) for name in CANDIDATES]
        told = {"seed": options.seed, "samples": options.samples, "rows": rows}
        (options.results or work / "gain_settings.json").write_text(json.dumps(told, indent=1) + "\n")
        print(table(rows))


if __name__ == "__main__":
    main()
