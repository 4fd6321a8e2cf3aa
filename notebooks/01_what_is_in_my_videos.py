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
# # What is in my videos?
#
# You have a folder of videos and have run `curate run VIDEOS --out RUN`. This notebook answers, before any threshold is
# touched: which files are there and which could not be read, how long and how large they are, how often they cut, how
# much of their time becomes clips and how much of that is kept, how the clips move, and what they look like. Everything
# comes from two tables, `videos.parquet` (one row per file) and `manifest.parquet` (one row per clip).
#
# The run is `CLIPMILL_RUN`, or `demo/run` as `make demo` makes it.

# %%
import os
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from helpers import DROPPED, KEPT, UNUSED, name_of, pictures, sheet
from IPython.display import display

RUN = Path(os.environ.get("CLIPMILL_RUN", "../demo/run"))

plt.rcParams.update({"figure.dpi": 85, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
videos = pd.read_parquet(RUN / "videos.parquet")
clips = pd.read_parquet(RUN / "manifest.parquet")
print(
    f"{len(videos)} files, {videos['duration_s'].sum() / 60:.1f} min, {videos['size_bytes'].sum() / 1e6:.1f} MB;"
    f" {len(clips)} clips"
)

# %% [markdown]
# ## The files
#
# Sizes are those that a viewer sees: after rotation, and before black borders are cropped. Frame rates and lengths are
# counted over decoded frames, not read from the header, so a file that was cut off shows its true length.

# %%
files = pd.DataFrame(
    {
        "container": videos["container"].str.split(",").str[0],
        "codec": videos["video_codec"],
        "size": videos["width"].astype("string") + "x" + videos["height"].astype("string"),
        "fps": (videos["avg_fps_num"] / videos["avg_fps_den"]).round(2),
        "seconds": videos["duration_s"].round(1),
        "minutes": videos["duration_s"] / 60,
        "shots": videos["cuts"].map(lambda cuts: 0 if cuts is None else len(cuts) + 1),
        "status": videos["status"],
    }
).set_index(videos["relpath"])
files["shots per minute"] = (files["shots"] / files.pop("minutes")).round(1)
display(files.head(20))

# %%
figure, axes = plt.subplots(1, 4, figsize=(11, 2.8), layout="constrained")
for place, column in zip(axes, ["container", "codec", "size", "fps"], strict=True):
    counts = files[column].value_counts().head(10).sort_index()
    place.barh(counts.index.astype(str), counts, color=KEPT)
    place.set(title=column, xlabel="files")
    place.xaxis.get_major_locator().set_params(integer=True)
plt.show()

# %% [markdown]
# **What to do with it.** Mixed sizes and rates need no hand: `curate export` writes every clip at one short side and
# one frame rate. Look for what the export would have to invent: sources smaller than `export.short_side_px` or slower
# than `export.fps`.
#
# ## What could not be read
#
# A broken file never stops a run; it becomes a row with a stage and a reason. `partial` means that the clips before the
# defect are there.

# %%
problems = videos[videos["status"] != "ok"]
unreadable = problems.groupby(["status", "error_stage", "error_message"], dropna=False).agg(
    files=("relpath", "size"), example=("relpath", "first")
)
display(
    unreadable.sort_values("files", ascending=False).head(12).reset_index()
    if len(problems)
    else "every file was read to its end"
)

# %% [markdown]
# ## How often they cut
#
# Shots per minute tell what kind of material this is: surveillance and screen recordings have hardly any cuts, films
# have 10 to 20, music videos and trailers 30 or more. A file far off the rest is worth a look: either the detector
# missed something or it is another kind of video.

# %%
clip_seconds = clips["duration_s"]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 2.6), layout="constrained")
left.hist(files["shots per minute"].dropna(), bins=20, color=KEPT)
left.set(xlabel="shots per minute", ylabel="files")
left.yaxis.get_major_locator().set_params(integer=True)
right.hist(
    [clip_seconds[clips["keep"]], clip_seconds[~clips["keep"]]],
    bins=24,
    stacked=True,
    color=[KEPT, DROPPED],
    label=["kept", "not kept"],
)
right.set(xlabel="length of a clip, s", ylabel="clips")
right.legend(frameon=False)
plt.show()

# %% [markdown]
# **What to do with it.** A model that trains on windows of `n` frames can use no clip shorter than `n / fps` seconds;
# the right panel says how many that are. `scenes.min_length_s` and `scenes.max_length_s` change the lengths, `curate
# cuts RUN --set ...` shows the effect first.
#
# ## Where the time goes
#
# Of every second of video: part of it lies between clips (transitions, guards around cuts, shots that are too short),
# part is in clips that a filter drops, and the rest is kept.

# %%
read = videos[videos["status"].isin(["ok", "partial"])].set_index("video_id")
spent = pd.DataFrame(
    {
        "kept": clips[clips["keep"]].groupby("video_id")["duration_s"].sum(),
        "not kept": clips[~clips["keep"]].groupby("video_id")["duration_s"].sum(),
    }
).reindex(read.index, fill_value=0.0)
spent = spent.fillna(0.0)
spent["between clips"] = (read["duration_s"] - spent.sum(axis=1)).clip(lower=0.0)
total = spent.sum()
print(", ".join(f"{name}: {seconds:.0f} s ({seconds / total.sum():.0%})" for name, seconds in total.items()))

longest = spent.loc[spent.sum(axis=1).nlargest(20).index[::-1]]
longest.set_axis(read["relpath"][longest.index]).plot.barh(
    stacked=True, color=[KEPT, DROPPED, UNUSED], figsize=(11, 0.9 + 0.24 * len(longest)), width=0.75
)
plt.gca().set(xlabel="s", ylabel="")
plt.legend(frameon=False, bbox_to_anchor=(1, 1))
plt.show()

# %%
reasons = (
    clips.explode("failed_filters")
    .groupby("failed_filters")
    .agg(clips=("clip_id", "size"), seconds=("duration_s", "sum"))
)
display(reasons.round(1).sort_values("seconds", ascending=False))

# %% [markdown]
# **What to do with it.** A video that is all orange is one to look at: either it is worthless, or a filter is wrong for
# its kind. Many grey seconds mean short shots: lower `scenes.min_length_s` where your model takes short windows. A clip
# that fails two filters counts in two rows of the table. The next notebook, `02_choosing_thresholds`, moves the limits.
#
# ## How it moves
#
# `motion` is how far the picture travels in a second, in units of its short side. `camera_direction` is what the motion
# of the whole picture looks like; `complex` means that no single camera move explains it.

# %%
directions = (
    clips.groupby(["camera_direction", "keep"])
    .size()
    .unstack(fill_value=0)
    .reindex(columns=[True, False], fill_value=0)
)
directions = directions.loc[directions.sum(axis=1).sort_values().index]
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 2.8), layout="constrained")
left.hist(
    [clips["motion"][clips["keep"]].dropna(), clips["motion"][~clips["keep"]].dropna()],
    bins=24,
    stacked=True,
    color=[KEPT, DROPPED],
)
left.set(xlabel="motion, short sides per second", ylabel="clips")
right.barh(directions.index, directions[True], color=KEPT, label="kept")
right.barh(directions.index, directions[False], left=directions[True], color=DROPPED, label="not kept")
right.set(xlabel="clips")
right.legend(frameon=False)
plt.show()
print(f"{clips['motion'].isna().sum()} clips have no motion score (too few frames, or flat pictures)")

# %% [markdown]
# **What to do with it.** A pile at zero is still pictures and slide shows: they teach a model to stand still. A
# directions panel with one tall bar is a set from one kind of camera; `curate filter RUN --set motion.min=...` or a
# sampler that draws directions evenly can correct it.
#
# ## What it looks like
#
# The middle frame of clips from all over the run. Blue is kept; orange is not, with the first reason.

# %%
looked_at = clips.iloc[:: max(1, -(-len(clips) // 30))].head(30)
frames = pictures(RUN, looked_at["clip_id"])
titles = [
    name_of(clip) if clip["keep"] else "".join(clip["failed_filters"][:1]) or clip["outcome"]
    for _, clip in looked_at.iterrows()
]
display(
    sheet(
        [frames.get(i) for i in looked_at["clip_id"]], titles, [KEPT if keep else DROPPED for keep in looked_at["keep"]]
    )
)

# %% [markdown]
# **What to do with it.** Read the orange titles against the pictures. Where you disagree more than now and then with
# one and the same filter, its threshold does not fit your videos. `report.html` in the run has the same with search,
# sorting and playback.
