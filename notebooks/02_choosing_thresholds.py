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
# # Which thresholds fit my videos?
#
# A run measures every clip once; what is kept is decided afterwards, from the tables alone. This notebook answers where
# the limits of a policy lie in the scores of your clips, which filters do the work and which only repeat others, what
# the clips on both sides of a limit look like, what another limit would keep, how sure a limit is that was set as "drop
# the lowest 25 %", and how to freeze all of it into a TOML file that decides the same way tomorrow and on another data
# set.
#
# The run is `CLIPMILL_RUN`, or `demo/run`. It is not changed: the last part works on a copy.

# %%
import json
import os
import tempfile
from pathlib import Path
from shutil import copytree, ignore_patterns

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from helpers import DROPPED, KEPT, UNUSED, name_of, pictures, sheet, shell
from IPython.display import display

from clipmill import curate

RUN = Path(os.environ.get("CLIPMILL_RUN", "../demo/run"))

plt.rcParams.update({"figure.dpi": 85, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
name = json.loads((RUN / "run.json").read_text())["policy"]
policy = json.loads((RUN / f"decisions/{name}.json").read_text())
clips = pd.read_parquet(RUN / "manifest.parquet").set_index("clip_id", drop=False)
margins = pd.DataFrame([dict(row) for row in clips["margins"]], index=clips.index)
filters = pd.DataFrame(policy["filters"]).set_index("column")
print(f"policy {name}: {policy['counts']}")

# %% [markdown]
# ## Where the limits lie
#
# One panel per filter: how the scores are spread over the clips, in blue where they pass, in orange where they fail,
# with the limit as a line. Scores above the 98th percentile are drawn at its place.

# %%
shown = [
    column
    for column in filters.index
    if filters["one_of"][column] is None and clips[column].nunique() > 1 and column != "dup_rank"
]
figure, axes = plt.subplots(2, -(-len(shown) // 2), figsize=(11, 4.2), squeeze=False, layout="constrained")
for place in axes.flat[len(shown) :]:
    place.set_visible(False)
for place, column in zip(axes.flat, shown, strict=False):
    scores = clips[column].dropna().astype(float)
    limits = [filters[side][column] for side in ("min", "max") if pd.notna(filters[side][column])]
    top = max([scores.quantile(0.98), *[1.1 * limit for limit in limits]])
    passed = margins[column].reindex(scores.index) >= 0
    bins = np.linspace(min(0.0, scores.min()), top, 25)
    place.hist(
        [scores[passed].clip(upper=top), scores[~passed].clip(upper=top)],
        bins=bins,
        stacked=True,
        color=[KEPT, DROPPED],
    )
    for limit in limits:
        place.axvline(limit, color="black", linewidth=1)
    place.set_title(f"{column}: {(~passed).sum()} of {len(scores)} fail", fontsize=9)
figure.supylabel("clips")
plt.show()

# %% [markdown]
# **What one sees and what to do.** A limit in an empty gap between two piles is safe: moving it a little changes
# nothing. A limit inside a pile is a decision about taste, and the clips beside it are worth looking at (below). A
# panel without orange is a filter that your videos never fail; leave it for the next delivery. On the demo, whose
# defects are planted, nearly every limit lies in a gap; real videos are less tidy.
#
# ## Which filter does the work
#
# Filters are shown in the policy's order. `fails` counts every clip that a filter refuses, `alone` those that no other
# filter refuses: what comes back when this one filter is switched off.

# %%
steps = pd.DataFrame(policy["waterfall"]).rename(columns={"unique": "alone"})
display(steps[["threshold", "entering", "dropped", "remaining", "fails", "alone"]])
figure, place = plt.subplots(figsize=(8, 0.6 + 0.26 * len(steps)), layout="constrained")
place.barh(steps["filter"], steps["remaining"], color=KEPT, label="left")
place.barh(steps["filter"], steps["dropped"], left=steps["remaining"], color=DROPPED, label="dropped here")
place.invert_yaxis()
place.set(xlabel="clips")
place.legend(frameon=False, bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# ## Which filters overlap
#
# Each cell counts clips that fail both filters; the diagonal is all that one filter refuses.

# %%
failed = clips["failed_filters"].explode().dropna()
if failed.empty:
    print("no filter refuses a clip")
else:
    fails = pd.get_dummies(failed).groupby(level=0).any().astype(int)
    both = fails.T @ fails
    figure, place = plt.subplots(figsize=(1.6 + 0.5 * len(both), 0.9 + 0.42 * len(both)), layout="constrained")
    place.imshow(both, cmap="Oranges", vmin=0)
    place.set_xticks(range(len(both)), both.columns, rotation=40, ha="right")
    place.set_yticks(range(len(both)), both.index)
    for row, column in np.ndindex(*both.shape):
        dark = both.iat[row, column] > 0.6 * both.to_numpy().max()
        place.text(
            column,
            row,
            both.iat[row, column] or "",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if dark else "black",
        )
    plt.show()

# %% [markdown]
# **What to do with it.** Two filters whose common cell is as large as their diagonals measure the same thing on your
# videos: in the demo `dup_frame_share` finds what `motion` finds, since a still picture repeats its frames. Keep both
# (they differ on 12 fps video shown at 24) but do not tighten both.
#
# ## The clips on both sides
#
# For each filter that refuses anything: the two clips just refused (orange), and the two kept clips that were nearest
# to being refused (blue), with their scores. A limit is right where you would draw the line between the second and the
# third picture.

# %%
refusing = [column for column in shown if (margins[column] < 0).any()][:7]
borderline = {}
for column in refusing:
    order = margins[column].dropna().sort_values()
    outside, inside = list(order[order < 0].index[-2:]), list(order[clips["keep"][order.index]].index[:2])
    borderline[column] = [None] * (2 - len(outside)) + outside + inside + [None] * (2 - len(inside))
frames = pictures(RUN, {clip for row in borderline.values() for clip in row if clip})
cells = [(column, clip) for column, row in borderline.items() for clip in row]
titles = [f"{column} {clips[column][clip]:.3g}\n{name_of(clips.loc[clip])}" if clip else "" for column, clip in cells]
colours = [DROPPED if clip and margins[column][clip] < 0 else KEPT for column, clip in cells]
display(
    sheet([frames.get(clip) for _, clip in cells], titles, colours, columns=4) if cells else "no filter refuses a clip"
)

# %% [markdown]
# One still shows sharpness, blocks and text; it shows no motion and no flicker. For those, open `report.html` and play
# the clips.
#
# ## What another limit would keep
#
# Every other filter stays; one limit moves. The line is at today's limit. A steep place is a limit to set with care.


# %%
def kept_at(column: str, limit: float, side: str) -> pd.DataFrame:
    """The clips kept where this one limit is moved and all else stays; a clip without the score stays as it was
    decided.
    """
    others_pass = clips["failed_filters"].map(lambda failed: set(failed) <= {column}) & clips["outcome"].isin(
        ["kept", "dropped"]
    )
    inside = clips[column] >= limit if side == "min" else clips[column] <= limit
    return clips[others_pass & inside.where(clips[column].notna(), clips["keep"])]


moved = ([column for column in ("motion", "sharpness", "text_area", "blockiness") if column in shown] or shown)[:3]
figure, axes = plt.subplots(1, len(moved), figsize=(11, 2.8), squeeze=False, layout="constrained")
for place, column in zip(axes.flat, moved, strict=True):
    side = "min" if pd.notna(filters["min"][column]) else "max"
    limits = np.linspace(0, clips[column].quantile(0.95), 60)
    place.step(limits, [kept_at(column, limit, side)["duration_s"].sum() for limit in limits], color=KEPT, where="post")
    place.axvline(filters[side][column], color="black", linewidth=1)
    place.set(xlabel=f"{side} {column}", ylabel="s kept" if column == moved[0] else "")
    place.set_ylim(bottom=0)
plt.show()

# %% [markdown]
# ## A limit from a share, and how sure it is
#
# `drop_lowest = "25%"` asks for a share instead of a number. `curate filter` turns it into a number from your scores
# and states the 95 % interval of that number: where the limit would lie had other clips of the same kind been scored.
# The run is copied first.

# %%
scratch = tempfile.TemporaryDirectory()  # gone when the kernel stops
work = Path(scratch.name)
copy = copytree(RUN, work / "run", ignore=ignore_patterns("shards", "curves"))
wish = """
[policy.motion]
drop_lowest = "25%"
on_error = "keep"
"""
n_letters = (work / "asked.toml").write_text(wish)
print(shell("curate filter run --policy asked.toml --name asked", work))

# %%
asked = json.loads((copy / "decisions/asked.json").read_text())
motion = next(f for f in asked["filters"] if f["column"] == "motion")
low, high = (motion[key] if motion[key] is not None else motion["min"] for key in ("ci_low", "ci_high"))
counts = [len(kept_at("motion", limit, "min")) for limit in (low, motion["min"], high)]
print(f"motion >= {motion['min']:.4f}, 95 % interval {low:.4f} to {high:.4f}, from {motion['n_scored']} scored clips")
print(
    f"other filters as before, that keeps {counts[1]} clips; the ends of the interval keep {counts[0]} and {counts[2]}"
)

figure, place = plt.subplots(figsize=(8, 2.6), layout="constrained")
scores = np.sort(clips["motion"].dropna())
place.step(scores, np.arange(1, len(scores) + 1) / len(scores), color=UNUSED, where="post")
place.axvspan(low, high, color=KEPT, alpha=0.25, linewidth=0, label="95 % interval of the limit")
place.axvline(motion["min"], color=KEPT, label="limit")
place.axhline(0.25, color="black", linewidth=0.8, linestyle=":")
place.set(xlabel="motion, short sides per second", ylabel="share of clips below", xlim=(0, np.quantile(scores, 0.97)))
place.legend(frameon=False)
plt.show()

# %% [markdown]
# **What to do with it.** With a few dozen clips the interval is wide: two deliveries of the same kind of video would
# get quite different limits. It narrows with the square root of the number of clips, so find the number on a large
# sample, then freeze it. Clips of one video resemble each other, so the true interval is rather wider than the stated
# one.
#
# ## Freezing it
#
# A frozen policy holds numbers only. What decides is its `policy_id`: the file below is read by `curate filter
# --policy`, on this run or any other, and has the id of the policy that asked for a share. From Python it is
# `curate.Run(...).filter`.


# %%
def as_toml(filters: list[dict]) -> str:
    """The limits of a decisions file as a policy that no longer depends on any table; where a limit came from is a
    comment.
    """
    lines = []
    for f in filters:
        limits = {"min": f["min"], "max": f["max"], "one_of": f["one_of"], "on_error": f["on_error"]}
        lines += [
            f"[policy.{f['column']}]",
            *(f"{key} = {json.dumps(value)}" for key, value in limits.items() if value is not None),
        ]
        if f["requested"]:
            (side, share), *_ = f["requested"].items()
            lines.append(
                f"# {side} {share:.3g} of {f['n_scored']} clips; 95 % interval {f['ci_low']} to {f['ci_high']}"
            )
    return "\n".join([*lines, ""])


n_letters = (work / "frozen.toml").write_text(as_toml(asked["filters"]))
print("".join((work / "frozen.toml").read_text().partition("[policy.text_area]")[0]), "...\n", sep="")
counts = curate.Run(copy).filter(str(work / "frozen.toml"))
print(f"{counts['clips']} clips: {counts['kept']} kept")
frozen = json.loads((copy / "decisions/frozen.json").read_text())
assert frozen["policy_id"] == asked["policy_id"]
print(f"policy_id {frozen['policy_id'][:16]} both times: the same clips are kept")

# %% [markdown]
# Keep `frozen.toml` under version control beside the training configuration; every shard that `curate export` writes
# carries the `policy_id`.
