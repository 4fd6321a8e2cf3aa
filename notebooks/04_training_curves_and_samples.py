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
# # Did the training go well, and what did it learn?
#
# You have trained a model with `models train` and made videos with `models sample`. This notebook answers: did the loss
# fall, and on videos that the model has not seen, too; at which noise levels; did the network wait for data; what do
# the samples look like; do they move like the clips; are they new or repeated from the training set; and which source
# videos went in.
#
# The samples are `CLIPMILL_SAMPLES`, or `demo/samples` as `make demo` makes them. The rest is found from there: a
# sample names its checkpoint, and the checkpoint its run.

# %%
import json
import os
from collections.abc import Iterable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from helpers import DROPPED, KEPT, UNUSED, read_video, strips
from IPython.display import display

from clipmill.curate.export.shards import ClipDataset, Draw
from clipmill.curate.video.resize_to_cover import covered
from clipmill.models.settings.training import size_px

SAMPLES = Path(os.environ.get("CLIPMILL_SAMPLES", "../demo/samples"))

plt.rcParams.update({"figure.dpi": 85, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
samples = pd.read_parquet(SAMPLES / "manifest.parquet")
checkpoint, step = Path(samples["checkpoint"][0]), int(samples["step"][0])
card = json.loads((checkpoint / "card.json").read_text())
run, config = Path(card["run"]), card["config"]
print(f"{config['name']}: {config['about']}")
print(f"{card['parameters']:,} parameters; {step} of {config['train']['steps']} steps; {len(samples)} samples")
for bucket in card["buckets"]:
    print(
        f"{bucket['clips']} clips of {bucket['shape']}, in batches of {bucket['batch']}; left out:"
        f" {card['left_out'] or 'none'}"
    )

# %% [markdown]
# ## Curves
#
# `log.jsonl` has a line every few steps. Rows with a validation loss are of clips of the split `val`, at fixed noise,
# so that two of them can be compared.

# %%
log = pd.DataFrame(map(json.loads, (checkpoint / "log.jsonl").read_text().splitlines()))
trained, validated = log[log["loss"].notna()], log[log["validation_loss"].notna()]
figure, axes = plt.subplots(1, 3, figsize=(11, 2.8), layout="constrained")
axes[0].plot(trained["step"], trained["loss"], color=UNUSED, linewidth=1)
axes[0].plot(
    trained["step"], trained["loss"].rolling(5, min_periods=1).mean(), color=KEPT, label="training, mean of 5 lines"
)
axes[0].plot(validated["step"], validated["validation_loss"], "o-", color=DROPPED, label="validation")
axes[0].set(title="loss", xlabel="step", ylim=(0, None))
axes[0].legend(frameon=False)
axes[1].plot(trained["step"], trained["grad_norm"], color=KEPT)
axes[1].set(title="norm of the gradient", xlabel="step", yscale="log")
axes[2].plot(trained["step"], trained["clips_per_s"], color=KEPT)
axes[2].set(
    title=f"clips per second; waiting for data: {100 * trained['data_wait_share'].median():.0f} %",
    xlabel="step",
    ylim=(0, None),
)
plt.show()

# %% [markdown]
# **What one sees and what to do.** The training loss should fall and level off, the gradient stay within a decade, the
# speed be flat. A validation loss that stays high or rises while the training loss falls means that the model learns
# its clips by heart: the demo, with some twenty clips, shows it. More clips help, fewer steps, or a smaller model.
# Where more than a few percent are spent waiting for data, raise `data.workers`, or use `data.cache=latents`.
#
# ## Noise levels
#
# The validation loss by noise level, from nearly clean on the left to nearly pure noise on the right. Much noise
# decides what is in the video and how it moves, little noise the details.

# %%
levels = pd.DataFrame(validated["validation_loss_by_level"].tolist(), index=validated["step"].astype(int))
figure, place = plt.subplots(figsize=(5.5, 2.8), layout="constrained")
for shade, (at, losses) in zip(np.linspace(0.35, 1.0, len(levels)), levels.iterrows(), strict=True):
    place.plot(
        (np.arange(levels.shape[1]) + 0.5) / levels.shape[1], losses, "o-", color=KEPT, alpha=shade, label=f"step {at}"
    )
place.set(xlabel="noise level, 0 clean to 1 noise", ylabel="validation loss", ylim=(0, None))
place.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Samples
#
# One row per video, frames from left to right: samples above, clips of the training set below, at the size and rate
# that the model sees.

# %%
FRAMES, STRIDE, SIZE = max(config["data"]["frames"]), config["data"]["stride"], size_px(config["data"]["sizes"][0])
SHOWN = 4


def windows(where: str, per_clip: int) -> np.ndarray:
    """uint8 [N, T, H, W, 3] of clips of the run, as training draws them."""
    clips = ClipDataset(run, where, n_frames=FRAMES, stride=STRIDE)
    drawn = (clips[Draw(index, epoch)]["video"] for index in range(len(clips)) for epoch in range(per_clip))
    return np.stack([covered(video, *SIZE).permute(0, 2, 3, 1).numpy() for video in drawn])


def resized(videos: Iterable[np.ndarray]) -> np.ndarray:
    """uint8 [N, T, H, W, 3] likewise."""
    pictures = (torch.from_numpy(video).permute(0, 3, 1, 2) for video in videos)
    return np.stack([covered(video, *SIZE).permute(0, 2, 3, 1).numpy() for video in pictures])


made = resized(read_video(SAMPLES / path)[:FRAMES] for path in samples["path"][:128])
known = windows("keep AND split = 'train'", per_clip=12)
unknown = windows("keep AND split = 'val'", per_clip=4)
print(f"{len(made)} samples, {len(known)} windows of training clips, {len(unknown)} of validation clips")
display(strips(made[:SHOWN], "samples"), strips(known[:: max(1, len(known) // SHOWN)][:SHOWN], "training clips"))

# %% [markdown]
# ## Do they move like the clips?
#
# The mean difference of neighbouring frames, in grey levels: still videos are at 0, flickering noise far to the right.


# %%
def change(videos: np.ndarray) -> np.ndarray:
    """float [N]: mean absolute difference of neighbouring frames, 0 to 255."""
    return np.abs(np.diff(videos.astype(np.float32), axis=1)).mean(axis=(1, 2, 3, 4))


sets = {"training clips": (known, UNUSED), "validation clips": (unknown, DROPPED), "samples": (made, KEPT)}
figure, place = plt.subplots(figsize=(7, 2.6), layout="constrained")
bins = np.linspace(0, max(np.quantile(change(videos), 0.98) for videos, _ in sets.values()), 25)
for name, (videos, colour) in sets.items():
    place.hist(
        change(videos),
        bins,
        weights=np.full(len(videos), 1 / len(videos)),
        histtype="step",
        linewidth=2,
        color=colour,
        label=name,
    )
place.set(xlabel="change from frame to frame, grey levels", ylabel="share of videos")
place.legend(frameon=False)
plt.show()

# %% [markdown]
# ## New, or repeated?
#
# For each sample the training window that is nearest by root mean square difference of pixels. A distance says little
# alone, so beside it stands the same for validation clips, which cannot be repeated: samples that lie much nearer than
# those are copies.


# %%
def nearest(videos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(distance, in grey levels; index) of the nearest training window of each video."""
    flat, all_known = (v.reshape(len(v), -1).astype(np.float32) for v in (videos, known))
    distances = torch.cdist(torch.from_numpy(flat), torch.from_numpy(all_known)).numpy() / np.sqrt(flat.shape[1])
    return distances.min(axis=1), distances.argmin(axis=1)


found, partner = nearest(made)
floor, _ = nearest(unknown)
print(
    f"nearest training window, median: {np.median(found):.1f} grey levels for samples, {np.median(floor):.1f} for"
    " validation clips"
)
print(f"{100 * np.mean(found < floor.min()):.0f} % of the samples are nearer than any validation clip")
closest = np.argsort(found)[:2]
pairs = np.stack([video for i in closest for video in (made[i], known[partner[i]])])
display(strips(pairs, "samples nearest to a training window, each above its window"))

# %% [markdown]
# **What one sees and what to do.** On the demo most samples are recognisably one of the few training clips: the model
# is large enough to know them by heart, and no score against the training clips would tell. Score against held-out
# clips, look at these pairs before a sample is called new, and train on more.
#
# ## What went in
#
# How often each clip was drawn up to this checkpoint, by source video. The same as `models info CKPT --clips`;
# docs/queries.md goes on from here to the bytes of the sources.

# %%
drawn = pd.read_parquet(checkpoint / "steps" / f"{step:08d}" / "clips.parquet")
videos = pd.read_parquet(run / "videos.parquet")[["video_id", "relpath", "license"]]
display(
    drawn.merge(videos, on="video_id")
    .groupby("relpath")
    .agg(clips=("clip_id", "nunique"), times_drawn=("times_drawn", "sum"), licence=("license", "first"))
    .sort_values("times_drawn", ascending=False)
)
