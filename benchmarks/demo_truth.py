"""Cuts and planted defects found in the demo videos by the default preset, against their truth.

python benchmarks/demo_truth.py [--minutes 6] [--seed 1] [--keep FOLDER]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import _truth
import pandas as pd


def curate(*arguments):
    subprocess.run([sys.executable, "-m", "clipmill.curate.cli", *map(str, arguments)], check=True, stdout=sys.stderr)


def report(videos, run):
    truth, manifest = pd.read_parquet(videos / "truth.parquet"), pd.read_parquet(run / "manifest.parquet")
    cuts = _truth.cut_scores(truth, pd.read_parquet(run / "videos.parquet"))
    counts = json.loads((run / "run.json").read_text())["counts"]
    lines = [
        f"{counts['files']} videos, {counts['clips']} clips, {counts['kept']} kept, {counts['dropped']} dropped.",
        "",
        "| found in the demo | instances | precision | recall |",
        "|---|---|---|---|",
    ]
    for kind, title in (("hard", f"hard cuts (F1 {cuts['hard_f1']:.3f})"), ("gradual", "gradual transitions")):
        instances = cuts[f"{kind}_tp"] + cuts[f"{kind}_fn"]
        lines.append(f"| {title} | {instances} | {cuts[f'{kind}_precision']:.3f} | {cuts[f'{kind}_recall']:.3f} |")
    for name, row in _truth.defect_scores(truth, manifest, manifest).iterrows():
        lines.append(
            f"| {name.replace('_', ' ')} | {row['tp'] + row['fn']:.0f} | {row['precision']:.3f} | {row['recall']:.3f} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        curate("demo", folder / "videos", "--minutes", options.minutes, "--seed", options.seed)
        curate("run", folder / "videos", "--out", folder / "run", "--no-export")
        print(report(folder / "videos", folder / "run"))


if __name__ == "__main__":
    main()
