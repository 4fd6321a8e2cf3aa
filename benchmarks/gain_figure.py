"""Draw docs/curation_gain.png from the results of `curation_gain.py` and `calibration_curve.py`, and with --work the
samples themselves.

python benchmarks/gain_figure.py [--results benchmarks/results] [--work DIR] [--out docs/curation_gain.png]
"""

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from curation_gain import sampled
from demo_training import samples

HERE = Path(__file__).resolve().parent
COLOURS = {"A": "#D55E00", "R": "#999999", "B": "#0072B2", "C": "#009E73"}
TITLES = {"A": "every\nclip", "R": "at\nrandom", "B": "default\npolicy", "C": "clean by\nthe truth"}
REAL = "real, other clips"
_SAMPLES = 12  # videos shown of a training


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
    place.set(xlabel=f"share dropped by {results['axis']} alone, %", title="distance, one filter drawn tighter")
    place.set_ylim(0, 1.1 * rows["distance"].max())


def draw_samples(work, out):
    """The first samples of the first seed of A and of B, a video a row, as they came."""
    figure, places = plt.subplots(1, 2, figsize=(8, 6.2), layout="constrained")
    for place, name in zip(places, "AB", strict=True):
        videos = samples(sampled(work, name, 0))[:_SAMPLES]
        count, frames, height, width, _ = videos.shape
        place.imshow(videos.transpose(0, 2, 1, 3, 4).reshape(count * height, frames * width, 3))
        place.set_title("trained on " + {"A": "every clip", "B": "what the default policy keeps"}[name])
        place.axis("off")
    figure.savefig(out, dpi=100, pil_kwargs={"quality": 85})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "curation_gain.png")
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10})
    figure, (left, middle, right) = plt.subplots(
        1, 3, figsize=(11.5, 3.2), layout="constrained", width_ratios=(4, 4, 3)
    )
    gain = json.loads((options.results / "curation_gain.json").read_text())
    draw_gain(left, gain, "distance", 1, "Fréchet distance of samples to clean videos")
    draw_gain(middle, gain, "defective", 100, "samples that are found defective, %")
    draw_calibration(right, json.loads((options.results / "calibration_curve.json").read_text()))
    figure.savefig(options.out, dpi=110, metadata={"Software": None})
    if options.work:
        draw_samples(options.work, options.out.with_name(f"{options.out.stem}_samples.jpg"))


if __name__ == "__main__":
    main()
