"""SVD's ablation in small: drop growing shares of one axis alone, train the same model on what is left, and see where it helps.

    python benchmarks/calibration_curve.py --work DIR [--axis motion] [--drop 12.5,25,50] [--steps 450] [--seeds 0]

Uses the pool of every clip, and the held-out clips, of `curation_gain.py --work DIR`. Prints a Markdown table; DIR/calibration.json.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from curation_gain import HELD_OUT, SIZES, SOURCE_SEED, command, held_out, row, source, trained
from demo_training import features, motion, windows

from models.config import load


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--axis", default="motion")
    parser.add_argument("--drop", default="12.5,25,50")
    parser.add_argument("--minutes", type=float, default=14)
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--size", choices=SIZES, default="cpu")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    work = options.work
    _, run = source(work, SOURCE_SEED, options.minutes)
    command("curate.cli", "calibrate", run, "--axis", options.axis, "--drop", options.drop)
    reference, _ = windows([held_out(work, *HELD_OUT[0])], load("demo", SIZES[options.size]), options.samples)
    real, real_motion = features(reference), motion(reference)
    results = []
    print(f"| {options.axis}: dropped | clips | Fréchet distance (mini) | motion, of real | found defective |\n|---|---|---|---|---|")
    for percent in (0.0, *sorted(map(float, options.drop.split(",")))):
        folder = run / "calibration" / options.axis / ("all" if percent == 0 else f"drop-{percent:g}")
        clips = int(pd.read_parquet(folder / "manifest.parquet")["keep"].fillna(False).sum())
        name = f"{options.axis}-{percent:g}-"
        rows = [
            row(work, f"samples {name}{seed}", trained(work, folder, name, seed, options), real, real_motion)
            for seed in map(int, options.seeds.split(","))
        ]
        results += [{"drop": percent, "clips": clips} | one for one in rows]
        means = {key: float(np.mean([one[key] for one in rows])) for key in ("distance", "motion", "defective")}
        figures = f"{means['distance']:.1f} | {means['motion']:.2f} | {100 * means['defective']:.0f} %"
        print(f"| {percent:g} % | {clips} | {figures} |", flush=True)
    (work / "calibration.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
