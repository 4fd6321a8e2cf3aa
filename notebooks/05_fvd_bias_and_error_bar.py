# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # How far can I trust a Fréchet distance?
#
# FVD is a Fréchet distance between two sets of features, and it is too large whenever there are few clips. This
# notebook answers how much too large, what the extrapolation to infinitely many clips and the standard error that
# `evaluate` states are worth (on data whose true distance is known), which differences between two sets of your run can
# be told apart from chance, and why numbers of two protocols must not be compared.
#
# The run is `CLIPMILL_RUN`, or `demo/run`. Features are those of `mini`, a small network that comes with clipmill and
# needs no download. **Its distances are not FVD**: FVD is the number of the I3D network that was published with it
# (`--features i3d`), and only that may be called so.

# %%
import os
import tempfile
from contextlib import chdir
from pathlib import Path
from shutil import copytree, ignore_patterns

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from helpers import DROPPED, KEPT, UNUSED, shell
from IPython.display import display

from clipmill import evaluate
from clipmill.evaluate.distances.error_bar import leave_groups_out
from clipmill.evaluate.distances.frechet import frechet_distance
from clipmill.evaluate.extraction.measure import candidates, read_clip
from clipmill.evaluate.features.mini import Mini
from clipmill.evaluate.frames.protocol import load
from clipmill.evaluate.frames.resize import preprocess
from clipmill.evaluate.score_rows import append
from clipmill.evaluate.sets import open_set
from clipmill.evaluate.studies.degrade import gaussian_blur

RUN = Path(os.environ.get("CLIPMILL_RUN", "../demo/run"))

plt.rcParams.update({"figure.dpi": 85, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})

# %% [markdown]
# ## Where the truth is known
#
# Two Gaussian laws in 100 dimensions, variances falling as 1/k, with a true distance of 1. For each number of clips,
# six fresh draws of both sets: the distance as it comes out, the extrapolation (`infinity`), and the standard error
# that a single draw states of itself.

# %%
DIM, TRUTH, DRAWS = 100, 1.0, 6


def gaussian_sets(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """float64 [n, 100] twice; the second law is the first, shifted by a total of 1 (squared)."""
    rng = np.random.default_rng(seed)
    x, y = (rng.standard_normal((n, DIM)) * np.sqrt(5 / np.arange(1, DIM + 1)) for _ in range(2))
    return x, y + np.sqrt(TRUTH / DIM)


sizes = (128, 256, 512, 1024, 2048)
found = {n: [leave_groups_out(*gaussian_sets(n, seed)) for seed in range(DRAWS)] for n in sizes}
table = pd.DataFrame(
    {
        "clips": sizes,
        "distance": [np.mean([f.full for f in found[n]]) for n in sizes],
        "its spread": [np.std([f.full for f in found[n]], ddof=1) for n in sizes],
        "stated standard error": [np.median([f.standard_error for f in found[n]]) for n in sizes],
        "infinity": [np.mean([f.infinity for f in found[n]]) for n in sizes],
        "spread of infinity": [np.std([f.infinity for f in found[n]], ddof=1) for n in sizes],
    }
).set_index("clips")
display(table.round(3))

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3), layout="constrained")
left.errorbar(sizes, table["distance"], table["its spread"], color=DROPPED, marker="o", capsize=3, label="distance")
enough = [n for n in sizes if n // 2 > DIM]
left.errorbar(
    enough,
    table["infinity"][enough],
    table["spread of infinity"][enough],
    color=KEPT,
    marker="o",
    capsize=3,
    label="infinity",
)
left.axhline(TRUTH, color="black", linewidth=0.8, linestyle=":", label="truth")
left.set(xscale="log", xlabel="clips in each set", ylabel="Fréchet distance", ylim=(0, None))
left.set_xticks(sizes, sizes)
left.minorticks_off()
left.legend(frameon=False)
one = found[512][0]
groups = sorted(one.by_groups)
parts = [1 / (512 * (1 - 1 / g)) for g in groups]
right.plot(parts, [one.by_groups[g].mean() for g in groups], "o", color=DROPPED, label="parts of one draw of 512")
right.plot(1 / 512, one.full, "s", color=DROPPED, label="all 512")
right.plot(
    [0, max(parts)],
    [one.infinity, one.infinity + (one.full - one.infinity) * 512 * max(parts)],
    color=UNUSED,
    linewidth=1,
)
right.plot(0, one.infinity, "o", color=KEPT, label="infinity")
right.axhline(TRUTH, color="black", linewidth=0.8, linestyle=":")
right.set(xlabel="1 / clips", ylim=(0, None))
right.legend(frameon=False)
plt.show()

# %% [markdown]
# **What one sees and what to do.** The distance falls as clips are added and is still above the truth at 2048, by far
# more than its error bar: the error bar says how the number scatters, not how far off it is. So never compare distances
# of different numbers of clips. `infinity` is near the truth from a few hundred clips on and scatters hardly more than
# the distance itself. It needs halves with more clips than features have dimensions (I3D has 400); at 128 clips it is
# wrong, and the left panel leaves it out.

# %% [markdown]
# ## Clips of the run
#
# Two windows of eight frames from every kept clip. The clips are split at random into two halves: two draws of the same
# kind of video, whose distance should be zero. Beside it, the first half against the second one blurred, by shares of
# the picture's short side. Twelve random splits show how much of a difference is chance.

# %%
protocol = load("clipmill", {"features": "mini", "clip_frames": 8, "clips_per_video": 2})
windows = candidates(open_set(RUN).videos, protocol)
pixels = [read_clip(window, protocol)[0] for window in windows]
network = Mini()


@torch.inference_mode()
def features(videos: list[np.ndarray]) -> np.ndarray:
    """uint8 [T, H, W, 3] each -> float64 [N, 128]."""
    return np.concatenate(
        [network(preprocess(video, protocol, network.side_px)[None]).numpy() for video in videos]
    ).astype(np.float64)


LEVELS = (0.0, 0.002, 0.01, 0.03)
rows_at = {level: features([gaussian_blur(video, level) for video in pixels]) for level in LEVELS}
_, source = np.unique([window.video.video_id for window in windows], return_inverse=True)
n_clips = source.max() + 1
print(f"{n_clips} clips, {len(windows)} windows, {rows_at[0.0].shape[1]} dimensions")

# %%
halves = [np.isin(source, np.random.default_rng(seed).permutation(n_clips)[: n_clips // 2]) for seed in range(12)]
distances = {
    level: [frechet_distance(rows_at[0.0][half], rows_at[level][~half]) for half in halves] for level in LEVELS
}
stated = [leave_groups_out(rows_at[0.0][halves[0]], rows_at[level][~halves[0]]).standard_error for level in LEVELS]
judged = pd.DataFrame(
    {
        "blur": LEVELS,
        "mean of 12 splits": [np.mean(distances[level]) for level in LEVELS],
        "spread over splits": [np.std(distances[level], ddof=1) for level in LEVELS],
        "error stated by one split": stated,
        "farther than unblurred, splits of 12": [
            int(np.sum(np.greater(distances[level], distances[0.0]))) for level in LEVELS
        ],
    }
).set_index("blur")
display(judged.round(3))

# %%
sizes = np.unique(np.linspace(4, n_clips // 2, 6).astype(int))


def of_size(clips: int, seed: int) -> float:
    """Distance between two disjoint draws of this many clips each, two windows of each clip."""
    order = np.random.default_rng(seed).permutation(n_clips)
    one, other = (np.isin(source, order[start : start + clips]) for start in (0, clips))
    return frechet_distance(rows_at[0.0][one], rows_at[0.0][other])


by_size = [[of_size(clips, seed) for seed in range(12)] for clips in sizes]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3), layout="constrained")
left.errorbar(sizes, np.mean(by_size, axis=1), np.std(by_size, axis=1, ddof=1), color=DROPPED, marker="o", capsize=3)
left.axhline(0, color="black", linewidth=0.8, linestyle=":")
left.set(
    xlabel="clips in each half",
    ylabel="Fréchet distance (mini)",
    title="real against real; the truth is 0",
    ylim=(-0.5, None),
)
for place, level in enumerate(LEVELS):
    right.plot(
        np.full(12, place) + np.linspace(-0.15, 0.15, 12),
        distances[level],
        "o",
        color=KEPT if level else UNUSED,
        markersize=4,
    )
right.set_xticks(range(len(LEVELS)), [f"blur {level:g}" if level else "no blur" for level in LEVELS])
right.set(title="half against blurred other half, 12 splits", ylim=(0, None))
plt.show()

# %% [markdown]
# **What one sees and what to do.** Halves of one set are not at zero, and the fewer clips, the farther apart: that is
# the floor which every score has to be read against. Report it: real against real, with as many clips as the comparison
# has. A single score tells a blur from chance only where its points clear the grey ones; with the few clips of the demo
# a blur has to be strong for that. Where the same clips are on both sides, compare split by split (last column of the
# table), which finds weaker ones. The two windows of a clip resemble each other and the splits share their clips, so
# the true error is larger than either error in the table; for a claim, score other clips, not more windows.
#
# ## Protocols
#
# The same two halves, by the function behind `evaluate fvd`, under three published protocols that differ in resizing,
# in cropping, in where a clip starts and in how a covariance is divided. Two manifests name the halves.

# %%
scratch = tempfile.TemporaryDirectory()  # gone when the kernel stops
work = Path(scratch.name)
copy = copytree(RUN, work / "run", ignore=ignore_patterns("frames", "curves", "annotations"))
kept = pq.read_table(copy / "manifest.parquet", filters=[("keep", "==", True)])
order = np.random.default_rng(0).permutation(len(kept))
for half in (0, 1):
    pq.write_table(kept.take(order[half::2]), copy / f"half_{half}.parquet")
common = {"features": "mini", "settings": {"clip_frames": 8, "n_real": 0, "n_fake": 0}, "device": "cpu", "tell": None}
published = ("clipmill", "original", "stylegan-v")
with chdir(work):  # a score names its sets as they were typed
    rows = [evaluate.fvd("run/half_0.parquet", "run/half_1.parquet", name, **common) for name in published]
append(work / "scores.parquet", rows)
scores = pd.read_parquet(work / "scores.parquet")
display(scores[["title", "protocol", "value", "standard_error", "n_real", "n_fake", "fingerprint"]].round(3))

# %%
print(shell("evaluate compare scores.parquet", work, may_fail=True))

# %% [markdown]
# **What to do with it.** The clips are the same; the numbers are not. Every score carries a fingerprint of all that
# decides it, `evaluate compare` puts only equal fingerprints in one order and names what differs otherwise. Publish the
# fingerprint, the number of clips and the standard error with each number. With the I3D weights at hand the same
# commands with `--features i3d --weights FILE` give FVD.
