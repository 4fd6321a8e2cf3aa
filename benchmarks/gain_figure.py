"""Draw docs/curation_gain.png from the results of `curation_gain.py` and `calibration_curve.py`.

    python benchmarks/gain_figure.py [--results benchmarks/results] [--out docs/curation_gain.png]
"""

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
COLOURS = {"A": "#D55E00", "R": "#999999", "B": "#0072B2", "C": "#009E73"}
TITLES = {"A": "every\nclip", "R": "at\nrandom", "B": "default\npolicy", "C": "clean by\nthe truth"}
REAL = "real, other clips"


def draw_gain(place, results, column, scale, label):
    """A point per training, mean and spread of the seeds, and what real clips reach."""
    rows = pd.DataFrame(results["rows"])
    pools = [name for name in COLOURS if name in results["pools"]]
    for at, name in enumerate(pools):
        colour = COLOURS[name]
        values = scale * rows.loc[rows["pool"] == name, column]
        place.bar(at, values.mean(), 0.6, color=colour, alpha=0.25)
        place.errorbar(at, values.mean(), values.std(ddof=1), color=colour, capsize=5)
        place.plot(at + np.linspace(-0.15, 0.15, len(values)), values, "o", color=colour)
    real = scale * rows.loc[rows["set"] == REAL, column].item()
    place.axhline(real, color="black", linewidth=0.8, linestyle=":")
    place.annotate("real videos", (1.5, real), ha="center", va="bottom", fontsize=8)
    clips = {name: facts["clips"] for name, facts in results["pools"].items()}
    place.set_xticks(range(len(pools)), [f"{TITLES[name]}\n{clips[name]} clips" for name in pools])
    place.set(title=label, ylim=(0, None))


def draw_calibration(place, results):
    """A point per training, the mean as a line."""
    rows = pd.DataFrame(results["rows"])
    place.plot(rows["drop"], rows["distance"], "o", color="#B0B0B0")
    place.plot(rows.groupby("drop")["distance"].mean(), "-", color=COLOURS["B"])
    place.set(xlabel=f"share dropped by {results['axis']} alone, %", title="distance, one filter drawn tighter", ylim=(0, None))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "curation_gain.png")
    options = parser.parse_args()
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10})
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11.5, 3.2), layout="constrained", width_ratios=(4, 4, 3))
    gain = json.loads((options.results / "curation_gain.json").read_text())
    draw_gain(left, gain, "distance", 1, "Fréchet distance of samples to clean videos")
    draw_gain(middle, gain, "defective", 100, "samples that are found defective, %")
    draw_calibration(right, json.loads((options.results / "calibration_curve.json").read_text()))
    figure.savefig(options.out, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
