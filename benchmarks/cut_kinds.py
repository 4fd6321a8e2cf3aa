"""Cuts by kind on rendered videos (`curate demo DIR --cuts`), and on labelled real ones by cross-validation.

    python benchmarks/cut_kinds.py [--seed 1] [--keep FOLDER] [--folds]

The rendered table: for each kind of boundary what is found and what is false in its videos; for each disturbance the
share of them at which nothing is found. --folds: the settings in GRID are chosen on four fifths of the groups of real
videos (by the repository that they come from) and scored on the rest, for each fifth in turn.
"""

import argparse
import csv
import dataclasses
import itertools
import os
import tempfile
from pathlib import Path

import cuts
import pandas as pd

from clipmill.curate import scenes
from clipmill.curate.demo.changes import KINDS
from clipmill.curate.demo.cut_set import render_cuts
from clipmill.curate.demo.truth import FILE
from clipmill.curate.settings.scenes import FIRST_HESITATION, ScenesConfig

GRID = {"lasting_structure": (0.5, 0.55, 0.6), "gradual_factor": (2.1, 3.0), "network_hesitation": (0.1, 0.15)}
FOLDS = 5
FIRST = ScenesConfig(rules="first", network_hesitation=FIRST_HESITATION)


def scored(truth, found):
    """One row of counts per kind: events, found, missed, false."""
    rows = {kind: dict.fromkeys(("events", "found", "missed", "false"), 0) for kind in KINDS}
    for file, events in truth.groupby("file"):
        row, left = rows[events["kind"].iloc[0]], sorted(found.get(file, []))
        reach = cuts.TOLERANCE if events["rate"].iloc[0] > 1 else 0
        boundaries = events[events["row"] == "transition"].sort_values("start_frame")
        row["events"] += len(events)
        for e in boundaries.itertuples():
            last = max(e.start_frame, e.end_frame - 1)
            hit = next((f for f in left if e.start_frame - reach <= f <= last + reach), None)
            row["found" if hit is not None else "missed"] += 1
            if hit is not None:
                left.remove(hit)
        row["false"] += len(left)
    return rows


def rates(row):
    """(precision, recall) as text; of a disturbance the share at which nothing is found, and nothing."""
    if row["found"] + row["missed"] == 0:
        return f"{1 - row['false'] / row['events']:.3f}", ""
    precision = row["found"] / (row["found"] + row["false"]) if row["found"] + row["false"] else 0.0
    return f"{precision:.3f}", f"{row['found'] / (row['found'] + row['missed']):.3f}"


def kinds_table(truth, second, first):
    """The Markdown table, of what both rules found: file -> boundaries."""
    lines = [
        "| kind | events | precision | recall | first rules: precision | first rules: recall |",
        "|---|---|---|---|---|---|",
    ]
    before = scored(truth, first)
    for kind, row in scored(truth, second).items():
        title = kind.replace("_", " ") if row["found"] + row["missed"] else f"no cut: {kind.replace('_', ' ')}"
        lines.append("| " + " | ".join((title, str(row["events"]), *rates(row), *rates(before[kind]))) + " |")
    return "\n".join(lines)


def groups(folder):
    """Name of a video -> the repository that it comes from."""
    with open(folder.parent / "MANIFEST.csv") as lines:
        return {row["file"]: row["source_repo"] for row in csv.DictReader(lines)}


def decided(stored, config):
    """Boundaries of all files under these settings, from stored curves. stored: file -> (curves, t_s)."""
    return {file: [t.frame for t in scenes.detect(*kept, config)[0]] for file, kept in stored.items()}


def cross_validated(stored, truth, source, module):
    """(score of all files, each under settings that were chosen without its group; the settings of each fold)."""
    names = sorted({source[file] for file in truth})
    fold = {file: names.index(source[file]) % FOLDS for file in truth}
    tried = []
    for values in itertools.product(*GRID.values()):
        settings = dict(zip(GRID, values, strict=True))
        tried.append((settings, decided(stored, dataclasses.replace(ScenesConfig(), **settings))))
    found, chosen = {}, []
    for k in range(FOLDS):
        rest = {file: marks for file, marks in truth.items() if fold[file] != k}
        settings, best = max(tried, key=lambda t: module.score(rest, t[1])["f1"])
        chosen.append(settings)
        found |= {file: best.get(file, []) for file in truth if fold[file] == k}
    return module.score(truth, found), chosen


def main():
    shared = Path(__file__).resolve().parents[2] / "shared"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="render here, and use what is there")
    parser.add_argument("--folds", action="store_true")
    parser.add_argument("--videos", type=Path, default=shared / "videos" / "dev")
    parser.add_argument("--checks", type=Path, default=shared / "checks")
    args = parser.parse_args()
    os.environ.update(cuts.ONE_THREAD)
    if args.folds:
        module = cuts.scorer(args.checks)
        found, _ = cuts.one_pass("fused", sorted(f for f in args.videos.iterdir() if f.is_file()))
        stored = {f.file: f.stored for f in found if f.stored}
        result, chosen = cross_validated(stored, module.labels(args.videos.name), groups(args.videos), module)
        print(" ".join(f"{k} {result[k]:.3f}" for k in ("precision", "recall", "f1")), *chosen, sep="\n")
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or Path(scratch)
        if not (folder / FILE).exists():
            render_cuts(folder, args.seed)
        found, _ = cuts.one_pass("fused", sorted(folder.glob("*.mp4")))
        stored = {f.file: f.stored for f in found if f.stored}
        print(kinds_table(pd.read_parquet(folder / FILE), {f.file: f.frames for f in found}, decided(stored, FIRST)))


if __name__ == "__main__":
    main()
