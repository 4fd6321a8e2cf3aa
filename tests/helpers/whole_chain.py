"""Videos, run, checkpoint, samples and scores in some seconds: every kind of file that the three commands write."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helpers.commands import curate, evaluate, models
from helpers.tiny_videos import quick, write_tiny
from helpers.trainings import NANO

UMASK = 0o027
CLIPS = ("--features", "mini", "--set", "clip_frames=8", "--set", "n_real=0", "--set", "n_fake=0")
_TRAINING = ("checkpoint_every=1", "validate_every=1", "log_every=1", "validation_clips=2", "preview_every=1")


def make_chain(root: Path) -> None:
    """root/videos, run, ckpt, samples, floor, scores.parquet, page.html, stats.npz, cache; made under this umask."""
    with umask(UMASK):
        _make_chain(root)


def _make_chain(root: Path) -> None:
    for k in range(2):
        write_tiny(root / "videos" / f"{k}.mp4", k)
    curate("run", root / "videos", "--out", root / "run", *quick("export.split={train=1.0}"))
    settings = [f"train.{word}" for word in _TRAINING] + ["data.workers=0", "data.cache=latents"]
    options = [word for text in settings for word in ("--set", text)]
    models("train", root / "run", *NANO, "--out", root / "ckpt", "--steps", 2, *options)
    sampled = ("--n", 2, "--frames", 8, "--device", "cpu", "--set", "sample.steps=1")
    models("sample", root / "ckpt", "--out", root / "samples", *sampled)
    models("floor", root / "ckpt", "--out", root / "floor", "--n", 2)
    measured = (*CLIPS, "--cache", root / "cache")
    evaluate("run", "run", "samples", *measured, "--metrics", "kvd,flicker", "--out", "scores.parquet", cwd=root)
    evaluate("stats", root / "run", *measured, "--out", root / "stats.npz")
    curate("export", root / "run", "--format", "hf", "--out", root / "hf")
    evaluate("report", root / "scores.parquet", "--out", root / "page.html")


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """While it lasts new files of this process have these rights less."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
