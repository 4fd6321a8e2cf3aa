"""SVD's ablation in small: drop growing shares of one axis alone, train the same model on what is left, and see where
it helps.

    python benchmarks/calibration_curve.py --work DIR [--axis motion] [--drop 12.5,25,50] [--steps N] [--seeds 0,1,2]
                                           [--at-once N] [--results FILE]

Uses the videos and the held-out clips of `curation_gain.py --work DIR`; clips without a score on the axis are in no
pool. Prints a Markdown table, and writes the figures of each training to FILE (DIR/calibration_curve.json).
"""

import argparse
import json
from pathlib import Path

import pandas as pd
from curation_gain import (
    HELD_OUT,
    SIZES,
    SOURCE_SEED,
    command,
    held_out,
    ledger,
    row,
    sampled,
    source,
    steps_of,
    train_all,
)
from demo_training import features, motion, samples, windows

from clipmill.models.config import load


def clips_of(folder):
    """Ids of the clips that a pool trains on."""
    table = pd.read_parquet(folder / "manifest.parquet", columns=["clip_id", "keep", "shard"])
    return set(table.loc[table["keep"].fillna(False).astype(bool) & table["shard"].notna(), "clip_id"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--axis", default="motion")
    parser.add_argument("--drop", default="12.5,25,50")
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--size", choices=SIZES, default="cpu")
    parser.add_argument("--at-once", type=int)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    work, size = options.work, SIZES[options.size]
    _, run = source(work, SOURCE_SEED, options.minutes)
    command("clipmill.curate.cli", "calibrate", run, "--axis", options.axis, "--drop", options.drop)
    reference, _ = windows([held_out(work, *HELD_OUT[0])], load("demo", size.settings), options.samples)
    real, real_motion = features(reference), motion(reference)
    folders = {0.0: run / "calibration" / options.axis / "all"}
    folders |= {
        percent: folders[0.0].with_name(f"drop-{percent:g}") for percent in sorted(map(float, options.drop.split(",")))
    }
    names = {percent: f"{options.axis}-{percent:g}-" for percent in folders}
    seeds = [int(seed) for seed in options.seeds.split(",")]
    chosen = [(folder, names[percent], seed) for seed in seeds for percent, folder in folders.items()]
    with ledger(work):
        train_all(work, chosen, options)
    results = []
    print(
        f"| {options.axis}: dropped | clips | Fréchet distance (mini) | motion, of real | found defective"
        " |\n|---|---|---|---|---|"
    )
    for percent, folder in folders.items():
        clips, name = len(clips_of(folder)), names[percent]
        rows = [
            row(work, f"samples {name} {seed}", samples(sampled(work, name, seed)), real, real_motion) for seed in seeds
        ]
        results += [{"drop": percent, "clips": clips} | one for one in rows]
        one = pd.DataFrame(rows)
        distance = f"{one['distance'].mean():.1f}" + (f" ± {one['distance'].std(ddof=1):.1f}" if len(seeds) > 1 else "")
        print(
            f"| {percent:g} % | {clips} | {distance} | {one['motion'].mean():.2f} |"
            f" {100 * one['defective'].mean():.0f} % |",
            flush=True,
        )
    told = {
        "axis": options.axis,
        "steps": steps_of(options),
        "samples": options.samples,
        "size": options.size,
        "rows": results,
    }
    (options.results or work / "calibration_curve.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
