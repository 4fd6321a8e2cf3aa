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
# # Does curation make the model better?
#
# The same model, trained for the same steps from the same seeds, on pools of clips of the same videos: **A** every
# clip, about half of which carry a planted defect; **B** what the default policy keeps of A; **C** the clips that are
# clean by the truth of the demo; **R** as many clips as B has, drawn from A at random. Samples are scored against
# held-out clean clips of other demo videos. This notebook answers: is B better than A by more than training again with
# another seed changes, is that only because B is smaller, how far is B from the oracle C, in what the samples differ,
# how the network was chosen, and what happens when the motion filter alone is drawn tighter.
#
# It reads the results of `benchmarks/curation_gain.py`, `benchmarks/gain_settings.py` and
# `benchmarks/calibration_curve.py` (`CLIPMILL_RESULTS`, or those of `benchmarks/results`). The distance is a Fréchet
# distance on the features of `mini`, **not FVD**.

# %%
import json
import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from helpers import DROPPED, KEPT, UNUSED
from IPython.display import display

RESULTS = Path(os.environ.get("CLIPMILL_RESULTS", "../benchmarks/results"))

plt.rcParams.update({"figure.dpi": 85, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
gain = json.loads((RESULTS / "curation_gain.json").read_text())
rows = pd.DataFrame(gain["rows"])
trained, others = rows[rows["pool"].notna()], rows[rows["pool"].isna()].set_index("set")
TITLES = {"A": "A: every clip", "R": "R: at random", "B": "B: default policy", "C": "C: clean by the truth"}
COLOURS = {"A": DROPPED, "R": "#555555", "B": KEPT, "C": UNUSED}
POOLS = [name for name in TITLES if name in gain["pools"]]
print(
    f"{gain['steps']} steps each, {gain['samples']} samples, {trained['seed'].nunique()} seeds, size {gain['size']!r}"
)
display(pd.DataFrame(gain["pools"]).T.round(2))

# %% [markdown]
# ## The distance to clean videos
#
# A point is one training. Dotted lines: real clips of other held-out videos, the least that can be hoped for, and the
# clips of the training set themselves.

# %%
figure, place = plt.subplots(figsize=(6.5, 3), layout="constrained")
for at, name in enumerate(POOLS):
    colour, distances = COLOURS[name], trained.loc[trained["pool"] == name, "distance"]
    place.plot(np.full(len(distances), at), distances, "o", color=colour)
    place.errorbar(at + 0.15, distances.mean(), distances.std(ddof=1), fmt="_", color=colour, capsize=4, markersize=14)
    place.plot([at - 0.3, at + 0.3], [others.loc[f"training windows {name}", "distance"]] * 2, ":", color=colour)
place.axhline(others.loc["real, other clips", "distance"], color="black", linewidth=0.8, linestyle=":")
place.set_xticks(range(len(POOLS)), [TITLES[name] for name in POOLS])
place.set(ylabel="Fréchet distance (mini), lower is better", ylim=(0, None))
plt.show()

# %%
by_seed = trained.pivot_table(index="seed", columns="pool", values="distance")
spread = float(np.sqrt(by_seed.var(ddof=1).mean()))
difference = by_seed["A"] - by_seed["B"]
by_seed["A - B"] = difference
by_seed.loc["mean"] = by_seed.mean()
display(by_seed.round(2))
print(
    f"spread over seeds {spread:.2f}; A - B = {difference.mean():.2f}, that is {difference.mean() / spread:.1f} times"
    " the spread"
)

# %% [markdown]
# **What one sees.** With half the clips, B is nearer to clean videos than A with each of the three seeds, by more than
# seven times the spread over seeds, and as near as C, which knows the truth. R, a random half, lies between: fewer
# clips for the same steps are learnt better, and that alone is two of the five points; the other three are what was
# dropped. The distance that a perfect model of each pool would have (dotted) says how much there was to win: that of A
# is four times that of B. All models are above it: at this size a model's own error is larger than that of its data.
#
# ## How the network was chosen
#
# Every candidate was trained on A and on B of other videos, which the experiment never sees, and scored against other
# held-out clips; the lowest mean of the two won. That rule was fixed before the first one ran, so it favours neither
# pool.

# %%
settings = pd.DataFrame(json.loads((RESULTS / "gain_settings.json").read_text())["rows"]).set_index("candidate")
display(settings[["A", "B", "mean", "motion A", "motion B"]].round(2))

# %% [markdown]
# **What one sees.** The preset itself, with the 450 steps that the time allows, puts A ahead, and this is what the
# experiment found first. Its samples showed why: they change their subject in mid-video, whichever pool they come from,
# and none of 96 was black or still although every sixth training window of A is. Such a model has learnt neither pool,
# and more different clips help it more than cleaner ones. Where a whole clip is one token a video keeps its subject,
# the distance falls by half, and the data show; the price is motion. A second round of the experiment used the third
# network, tuned on B alone and scored on the clips that it was tuned on (A 24.4, B 22.9, C 22.9); what stands here
# replaces it. The candidates are what that tuning left: two were known to do well on B.
#
# ## In what the samples differ
#
# Mean motion, as a share of the motion of real clips, and the share of samples that the annotators of `curate` find
# defective (standing still, black, flickering, repeated frames), with the sets that no model made for comparison.

# %%
table = trained.groupby("pool")[["distance", "standard_error", "motion", "defective"]].mean()
table.index = [f"samples {name}" for name in table.index]
display(pd.concat([table, others[table.columns]]).round(2))

# %% [markdown]
# **What one sees.** A learns to make what it was shown: 9 % of its samples are found to stand still, be black, flicker
# or repeat frames (20 % of those of R), against 3 % of those of B and 2 % of those of C; 96 videos of each training
# were judged. Defects that do not survive the scaling to 32 px (blur, blocks, most text) cannot be judged here. All
# models move far too little, which this distance hardly punishes: read it beside the motion.
#
# ## One axis alone: how tight should the motion filter be?
#
# SVD's ablation in small: `curate calibrate --axis motion` drops a growing share of the clips with the least motion
# from A, nothing else, and each pool trains the same model.

# %%
calibration = json.loads((RESULTS / "calibration_curve.json").read_text())
curve = pd.DataFrame(calibration["rows"])
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
for place, column, label in ((left, "distance", "Fréchet distance (mini)"), (right, "motion", "motion, of real clips")):
    place.plot(curve["drop"], curve[column], "o", color=UNUSED)
    place.plot(curve.groupby("drop")[column].mean(), "-", color=KEPT)
    place.set(xlabel=f"{calibration['axis']}: share of clips dropped, %", ylabel=label, ylim=(0, None))
right.axhline(1, color="black", linewidth=0.8, linestyle=":")
plt.show()
display(curve.groupby("drop")[["clips", "distance", "motion", "defective"]].mean().round(2))

# %% [markdown]
# **What one sees.** At 0 % stands A without the nearly black clips, which have no motion score: leaving them out wins
# two of the five points that the default policy wins. A tighter motion filter brings samples nearer to clean videos,
# makes them move more, and leaves next to none standing still; at half of the clips it is as good as the default
# policy, and better by three points than a random pool of that size (R above). In the second round (one seed), with a
# network that changes the subject in mid-video, it gained nothing: the answer depends on the model, which is the reason
# why thresholds are calibrated and not copied.
