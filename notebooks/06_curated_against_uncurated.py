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
# The same model, trained for the same steps from the same seeds, on three pools of clips of the same videos: **A** every clip, about half
# of which carry a planted defect; **B** what the default policy keeps of A; **C** the clips that are clean by the truth of the demo.
# Samples are scored against held-out clean clips of other demo videos. This notebook answers: is B better than A by more than training
# again with another seed changes, how far is B from the oracle C, in what the samples differ, and what happens when the motion filter
# alone is drawn tighter.
#
# It reads the results of `benchmarks/curation_gain.py` and `benchmarks/calibration_curve.py` (`CLIPMILL_RESULTS`, or those of
# `benchmarks/results`). The distance is a Fréchet distance on the features of `mini`, **not FVD**.

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
print(f"{gain['steps']} steps each, {gain['samples']} samples, {trained['seed'].nunique()} seeds, size {gain['size']!r}")
display(pd.DataFrame(gain["pools"]).T.round(2))

# %% [markdown]
# ## The distance to clean videos
#
# A point is one training. Dotted lines: real clips of other held-out videos, the least that can be hoped for, and the clips of the
# training set themselves.

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
print(f"spread over seeds {spread:.2f}; A - B = {difference.mean():.2f}, that is {difference.mean() / spread:.1f} times the spread")

# %% [markdown]
# **What one sees.** With half the clips, B is better than A with each of the three seeds, by about three times the spread over seeds, and
# as near to the held-out videos as C, which knows the truth. The distance that a perfect model of each pool would have (dotted) says how
# much there was to win: that of A is five times that of B. All models are far above it: at this size a model's own error is much larger
# than that of its data, and hides most of the gain.
#
# **What was tried first.** The preset's own network (7.4 million parameters) with the 450 steps that the time allows put A ahead: 28.8
# and 29.7 against 31.9 and 32.0. Its samples showed why: they change their subject in mid-video, whichever pool they come from, and none
# of 96 was black or still although every sixth training window of A is. Such a model has learnt neither pool, and more different clips
# help it more than cleaner ones. A sixth of the parameters and more steps in the same time reach 23 instead of 32, and there the data
# show.
#
# **How the network was chosen.** Seven settings (size, steps, learning rate, components, frames per token, a small pool) were tried,
# nearly all on the curated pool alone and against the same held-out clips that score the table; the one that came nearest in its time was
# tried once on A (23.0 against 21.3 and 21.7 for B) and then used with fewer steps. So B had the advantage of the tuning, and the spread
# over seeds does not contain the choice. A fair repetition tunes on A, or scores on other videos (`HELD_OUT` in the script).
#
# ## In what the samples differ
#
# Mean motion, as a share of the motion of real clips, and the share of samples that the annotators of `curate` find defective (standing
# still, black, flickering, repeated frames), with the sets that no model made for comparison.

# %%
table = trained.groupby("pool")[["distance", "standard_error", "motion", "defective"]].mean()
table.index = [f"samples {name}" for name in table.index]
display(pd.concat([table, others[table.columns]]).round(2))

# %% [markdown]
# **What one sees.** A learns to make what it was shown: 13 % of its samples are found to stand still, be black, flicker or repeat frames,
# against 5 % of those of B and 3 % of those of C. Defects that do not survive the scaling to 32 px (blur, blocks, most text) cannot be
# judged here. All models move too little. `evaluate` finds the gain in the features; these two columns say what it consists of.
#
# ## One axis alone: how tight should the motion filter be?
#
# SVD's ablation in small: `curate calibrate --axis motion` drops a growing share of the clips with the least motion from A, nothing else,
# and each pool trains the same model.

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
# **What one sees.** One seed each, so differences under 1 say nothing. At 0 % stands A without the nearly black clips, which have no
# motion score: it is as near to clean videos as B. So of what the default policy wins in distance at this size, most is won by dropping
# black clips; the other filters show in the share of defective samples. A tighter motion filter gives samples that move more and stand
# still less, but not nearer ones: a model this small does better on what hardly moves. Whether that turns with a larger model is the
# question for a GPU, and the reason why thresholds are calibrated and not copied.
