"""Settings of training: which clips, in which sizes, and how the weights are moved. Light: imported by the command
line.
"""

from dataclasses import dataclass
from typing import Literal

from clipmill.models.settings.learn import learn_of


@dataclass(frozen=True)
class DataConfig:
    """Which windows of which clips, and how they are put into batches.

    where, validation_where: SQL conditions on the manifest, "" for all clips (see `clipmill.curate.common.sql`); only
    kept and exported clips are read. frames: window lengths; a clip goes to the longest it can fill.
    stride: clip frames from one frame of a window to the next. max_stride: where set, each window has a stride of its
    own, from `stride` to this as far as its clip goes, and so a rate, which `conditioning.micro` can tell
    (Make-A-Video). sizes: "HEIGHTxWIDTH", px; a clip goes to the one
    nearest to its shape, is shrunk to cover it and cropped in the middle. crop: "HEIGHTxWIDTH" of a part of each
    window that training sees in place of the whole, anywhere in it, the same every time (Imagen Video's last model);
    videos are sampled whole. batch: samples of an optimiser step over all
    processes; tokens: where set, positions of latents per step instead, so that large buckets have small batches, in
    multiples of batch_multiple.
    batch_multiple: where `tokens` is set, batches of a bucket are multiples of so many samples, at least 1.
    packed: fill every step up to `tokens` with videos of all buckets, which go through the network as one sequence
    without padding (dit alone); samples of a bucket come batch_multiple at a time, and image_share is a share of the
    samples.
    windows: where set, every clip has this many windows, drawn once, in place of a new one in each epoch. flip: mirror
    windows left to right, half of them. image_share: share of steps on batches of single frames. images_per_clip:
    single frames of other clips put behind every window as frames of their own (Video Diffusion Models). cache:
    "latents" encodes every window once (needs `windows`).
    workers: processes that decode; 0 decodes in the training process.
    """

    where: str = "split = 'train'"
    validation_where: str = "split = 'val'"
    frames: tuple[int, ...] = (16,)
    stride: int = 1
    max_stride: int | None = None
    sizes: tuple[str, ...] = ("256x256",)
    crop: str | None = None
    batch: int = 8
    tokens: int | None = None
    batch_multiple: int = 1
    packed: bool = False
    windows: int | None = None
    flip: bool = False
    image_share: float = 0.0
    images_per_clip: int = 0
    cache: Literal["none", "latents"] = "none"
    workers: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError, one line, for a value that cannot work."""
        problems = (
            (not self.frames or min(self.frames) < 1, "frames are window lengths of at least 1"),
            (
                self.stride < 1 or self.batch < 1 or self.batch_multiple < 1,
                "stride, batch and batch_multiple are at least 1",
            ),
            (self.max_stride is not None and self.max_stride < self.stride, "max_stride is at least stride, or none"),
            (
                self.max_stride is not None and self.cache == "latents",
                "of cached windows the rate is not kept: set data.cache=none, or leave data.max_stride out",
            ),
            (not self.sizes, "sizes need at least one HEIGHTxWIDTH"),
            (
                not 0 <= self.image_share < 1 or self.images_per_clip < 0,
                "image_share is 0 to below 1, images_per_clip at least 0",
            ),
            (self.windows is not None and self.windows < 1, "windows is at least 1, or none"),
            (
                self.cache == "latents" and self.windows is None,
                "a cache of latents needs a fixed number of windows per clip: set data.windows",
            ),
            (
                self.cache == "latents" and bool(self.images_per_clip or self.image_share),
                "single frames are not cached: set data.cache=none",
            ),
            (self.workers < 0, "workers is at least 0"),
        )
        for wrong, message in problems:
            if wrong:
                raise ValueError(message)
        for size in map(size_px, self.sizes):
            if self.crop is not None and any(a > b for a, b in zip(size_px(self.crop), size, strict=True)):
                raise ValueError(f"crop is a part of every size, and {self.crop} is none of {'x'.join(map(str, size))}")


@dataclass(frozen=True)
class TrainConfig:
    """How the weights are moved, and what is written on the way.

    steps: optimiser steps, at least 1. init: a checkpoint of `models train` with the same backbone, image or video
    model, whose averaged weights this one begins with, or none. learn: what of the weights moves, the rest
    stays bit by bit as `init` has it: all; temporal, layers along time and what is new; query+temporal, also the
    queries of attention to pixels and text (Tune-A-Video); control, the copy that backbone.options.control makes
    (ControlNet); lora:8, low-rank branches of that rank at all projections of
    attention; lora:8:temporal, of attention along time alone. seed: of first weights, order, windows, captions and
    noise, 0 to 2**63 - 1.
    micro_batch: samples per forward pass and process; none: the whole share, halved until it fits on a GPU. precision:
    bf16 autocast over float32 weights, or fp32; auto: bf16 on a GPU. optimiser: adamw, or muon (hidden matrices; the
    rest adamw). learning_rate: of adamw, over 0, after the warm-up. muon_learning_rate: of muon's matrices, over 0.
    betas: adamw's shares of the past in its averages of gradients and of their squares, each 0 to below 1. epsilon:
    added to the root of adamw's squares. weight_decay: of adamw and muon, times the learning rate, for weights of two
    axes or more; 0 for none. warm_up: steps of linear rise; decay: what follows, cosine to zero at `steps`, or
    constant. clip_norm: of gradients, 0 for none. ema_std: relative widths of the power-function averages that are kept
    (Karras et al. 2024, EDM2, section 3.1); the first is what `models sample` uses. recompute: see
    Backbone.recompute_every. parallel: with several processes. compile: each block by itself; auto: on a GPU.
    deterministic: only algorithms of torch that give the same bits each time, slower on a GPU; an operation that has
    none ends the training. log_every: steps from one line of the log to the next, at least 1. checkpoint_every,
    validate_every, preview_every: steps, 0 for never (the end has a checkpoint always). keep: checkpoints kept.
    snapshots: of the averages, for other widths afterwards; every so many steps, 0 for none. validation_clips: clips
    that validation reads, at most, one window each, from all buckets by turns. validation_bins: noise levels, spread
    evenly over what `diffusion.levels` draws, at which each clip's loss is taken; an autoencoder has one loss for all.
    preview_clips: videos in a preview. measured: windows, at least 1, on which what pixels have in place of training is
    found before the first step, more where components are many, and the mean and spread of latents. minutes: stop after
    so much training time, checkpoint and say so.
    """

    steps: int = 100_000
    init: str | None = None
    learn: str = "all"
    seed: int = 0
    micro_batch: int | None = None
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    optimiser: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-4
    muon_learning_rate: float = 0.02
    betas: tuple[float, float] = (0.9, 0.99)
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    warm_up: int = 100
    decay: Literal["constant", "cosine"] = "constant"
    clip_norm: float = 1.0
    ema_std: tuple[float, ...] = (0.05, 0.10)
    recompute: int = 0
    parallel: Literal["ddp", "fsdp"] = "ddp"
    compile: Literal["auto", "on", "off"] = "auto"
    deterministic: bool = False
    log_every: int = 10
    checkpoint_every: int = 1000
    keep: int = 2
    snapshots: int = 0
    validate_every: int = 1000
    validation_clips: int = 64
    validation_bins: int = 8
    preview_every: int = 0
    preview_clips: int = 4
    measured: int = 256
    minutes: float | None = None

    def __post_init__(self) -> None:
        """Raises ValueError, one line, for a value that cannot work."""
        learn_of(self.learn)
        problems = (
            (self.steps < 1, "steps is at least 1"),
            (not 0 <= self.seed < 2**63, "seed is 0 to 2**63 - 1"),
            (not min(self.learning_rate, self.muon_learning_rate) > 0, "learning rates are over 0"),
            (self.micro_batch is not None and self.micro_batch < 1, "micro_batch is at least 1, or none"),
            (
                any(not 0 < std < 0.28 for std in self.ema_std) or not self.ema_std,
                "ema_std are widths over 0 and below 0.28, at least one",
            ),
            (min(self.keep, self.log_every, self.measured) < 1, "keep, log_every and measured are at least 1"),
            (
                min(self.warm_up, self.checkpoint_every, self.validate_every, self.preview_every, self.snapshots) < 0,
                "steps are 0 or more",
            ),
            (self.minutes is not None and self.minutes <= 0, "minutes is over 0, or none"),
        )
        for wrong, message in problems:
            if wrong:
                raise ValueError(message)


def size_px(text: str) -> tuple[int, int]:
    """ "256x448" -> (height, width), px. Raises ValueError."""
    height, cross, width = text.partition("x")
    if not (cross and height.isdigit() and width.isdigit() and int(height) > 0 and int(width) > 0):
        raise ValueError(f"a size is HEIGHTxWIDTH in px, for example 256x448, not {text!r}")
    return int(height), int(width)
