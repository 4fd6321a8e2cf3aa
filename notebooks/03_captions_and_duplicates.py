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
# # What do my captions say, and what do I have twice?
#
# A text-to-video model learns what its captions say, and remembers what it sees too often. This notebook answers which
# captions the clips have, from which source, how long they are and which of them are suspect; which clips are near
# duplicates of each other and which one of each group is kept; and whether anything in the validation split has a twin
# in the training split.
#
# The run is `CLIPMILL_RUN`, or `demo/run`. It is not changed: captions are added to a copy.

# %%
import json
import os
import tempfile
import textwrap
from pathlib import Path
from shutil import copytree, ignore_patterns

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from helpers import DROPPED, KEPT, UNUSED, name_of, pictures, sheet
from IPython.display import display

from clipmill import curate

RUN = Path(os.environ.get("CLIPMILL_RUN", "../demo/run"))

plt.rcParams.update({"figure.dpi": 85, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
scratch = tempfile.TemporaryDirectory()  # gone when the kernel stops
work = Path(scratch.name)
copy = copytree(RUN, work / "run", ignore=ignore_patterns("shards"))

# %% [markdown]
# ## Captions without a download
#
# `caption_attributes` writes a sentence from what was measured: length, motion, camera, colours, text on the screen. It
# does not guess what is in the picture. `caption_coca`, `caption_video` and `caption_server` do, with a network; the
# rest of this notebook is the same for them.

# %%
run = curate.Run(copy).annotate("caption_attributes", tell=None)
clips = run.pandas().set_index("clip_id", drop=False)

# %% [markdown]
# The column `captions` is a list per clip: a caption from a text file beside the video (`sidecar`) stands there
# together with those of the annotators, each with its weight. In training one of them is drawn for each sample, in
# proportion to the weights.

# %%
captions = clips["captions"].explode().dropna().apply(pd.Series).join(clips[["keep", "duration_s"]])
captions["words"] = captions["text"].str.split().str.len()
summary = captions.groupby("source").agg(
    captions=("text", "size"),
    different=("text", "nunique"),
    weight=("sample_weight", "mean"),
    words_median=("words", "median"),
    words_most=("words", "max"),
    not_ok=("status", lambda status: (status != "ok").sum()),
)
display(summary.round(2))
bare = clips[clips["keep"] & ~clips.index.isin(captions.index)]
print(f"{clips['keep'].sum()} clips are kept, {len(bare)} of them without any caption")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 2.6), layout="constrained")
bins = np.arange(0, captions["words"].max() + 3, 2)
for source, colour in zip(summary.index, [KEPT, DROPPED, "#009E73", "#CC79A7", UNUSED], strict=False):
    left.hist(captions["words"][captions["source"] == source], bins=bins, color=colour, alpha=0.7, label=source)
left.set(xlabel="words in a caption", ylabel="captions")
left.legend(frameon=False)
repeats = captions["text"].value_counts().head(8)[::-1]
right.barh([textwrap.shorten(text, 62) for text in repeats.index], repeats, color=UNUSED)
right.set(xlabel="clips with the same caption")
plt.show()

# %% [markdown]
# **What one sees and what to do.** Words far beyond what your text encoder reads are lost (CLIP reads about 50 words,
# T5 a few hundred). One caption on many clips teaches little about any of them: in the demo a sidecar caption belongs
# to the whole video, so all its clips share it, while the measured sentences differ. Where `different` is far below
# `captions` for the source with the highest weight, run a captioner that sees the clips.
#
# ## Suspect captions
#
# Every caption annotator states what it noticed about its own text, in a column that ends in `_flags`.

# %%
flags = (
    clips[[column for column in clips.columns if column.endswith("_flags")]]
    .melt(var_name="column", value_name="flag")
    .explode("flag")
    .dropna()
)
display(flags.value_counts().rename("clips").reset_index() if len(flags) else "no caption of this run has a flag")

# %% [markdown]
# ## Captions beside pictures
#
# The shortest way to judge captions is to read a dozen. Blue clips are kept.

# %%
written = captions[captions["source"] == "attributes"].groupby(level=0).first()
some = written.sort_values("words").iloc[:: max(1, len(written) // 12)].index[:12]
frames = pictures(copy, some)
titles = ["\n".join(textwrap.wrap(written["text"][clip], 29, max_lines=5)) for clip in some]
display(
    sheet(
        [frames.get(clip) for clip in some],
        titles,
        [KEPT if clips["keep"][clip] else DROPPED for clip in some],
        columns=4,
    )
)

# %% [markdown]
# ## Near duplicates
#
# Clips that show the same pictures, even re-encoded, scaled or shortened a little, share a `dup_group_id`. Rank 0 is
# the one to keep (blue); the policy's `dup_rank` drops the others (orange).

# %%
groups = clips[clips["dup_group_id"].notna()].sort_values(["dup_group_id", "dup_rank"])
print(
    f"{groups['dup_group_id'].nunique()} groups with {len(groups)} clips; {int((groups['dup_rank'] > 0).sum())} clips"
    " are copies"
)
looked_at = groups[groups["dup_group_id"].isin(groups["dup_group_id"].unique()[:8])]
frames = pictures(copy, looked_at["clip_id"])
width = 6
shown, titles, colours = [], [], []
for number, (_, group) in enumerate(looked_at.groupby("dup_group_id", sort=False), 1):
    for _, clip in group.head(width).iterrows():
        shown.append(frames.get(clip["clip_id"]))
        titles.append(f"group {number}, rank {clip['dup_rank']}\n{name_of(clip)}")
        colours.append(KEPT if clip["dup_rank"] == 0 else DROPPED)
if shown:
    display(sheet(shown, titles, colours))

# %% [markdown]
# **What to do with it.** If the two of a pair differ in something that you want to train on, lower `dedup.radius_bits`
# or raise `dedup.similarity` and run `curate run` again (only the search is repeated). If you know of copies that are
# missing here, do the opposite.
#
# ## Is the validation split safe?
#
# A copy of a training clip in the validation split makes every score too good. Splits go by source video, and videos
# that share a duplicate group go to one split whole. Both are checked here, on all clips. Then, as a check that does
# not trust the groups: how far each clip's perceptual hash is from its nearest one in another video, in bits of 64,
# inside its split and across splits.

# %%
placed = clips[clips["split"].notna()]
display(
    placed.groupby("split")
    .agg(videos=("video_id", "nunique"), clips=("clip_id", "size"), kept=("keep", "sum"), seconds=("duration_s", "sum"))
    .round(1)
)
torn_videos = (placed.groupby("video_id")["split"].nunique() > 1).sum()
torn_groups = (placed.groupby("dup_group_id")["split"].nunique() > 1).sum()
print(f"videos in more than one split: {torn_videos}; duplicate groups in more than one split: {torn_groups}")
assert torn_videos == torn_groups == 0

# %%
hashed = placed[placed["phash_middle"].notna() & ~(placed["near_black"] > 0.5)]
bits = np.unpackbits(
    np.array([list(bytes.fromhex(text)) for text in hashed["phash_middle"]], dtype=np.uint8), axis=1
).astype(int)
distance = (bits[:, None] != bits[None]).sum(axis=2)
splits, sources = hashed["split"].to_numpy(), hashed["video_id"].to_numpy()
same_split, same_video = splits[:, None] == splits[None], sources[:, None] == sources[None]
inside = np.where(same_split & ~same_video, distance, 65).min(axis=1)
across = np.where(~same_split, distance, 65).min(axis=1)

radius = json.loads((copy / "run.json").read_text())["config"]["dedup"]["radius_bits"]
figure, place = plt.subplots(figsize=(8, 2.6), layout="constrained")
place.hist(inside[inside <= 64], bins=range(34), color=UNUSED, label="same split, another video")
place.hist(across[across <= 64], bins=range(34), histtype="step", color=DROPPED, linewidth=2, label="another split")
place.axvline(radius, color="black", linewidth=1, linestyle=":", label="dedup.radius_bits")
place.set(xlabel="bits to the nearest clip (middle frame)", ylabel="clips")
place.legend(frameon=False)
plt.show()
print(f"nearest across splits: {across.min()} bits" if (across <= 64).any() else "one split only")

# %% [markdown]
# **What one sees and what to do.** The copies are the bars near zero, and they are all inside a split. Across splits
# the nearest pictures should lie beyond the dotted line; a clip left of it is one to look at, since the groups also ask
# for the same length and for the pictures themselves to agree. (The distances here take every pair; on more than some
# ten thousand clips, draw a sample.)
