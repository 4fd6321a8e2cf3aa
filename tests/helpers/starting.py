"""Options of an image model of two blocks, and of video models that begin with it."""

from pathlib import Path

LATTE = ("--config", "latte-nano", "--device", "cpu")
IMAGE = ("backbone.options.plans=['spatial']", "data.frames=[1]")
FAST = ("train.warm_up=0", "train.learning_rate=0.1")
VIDEO = ("backbone.options.depth=4", "backbone.options.time_positions_in=branch")


def image_options(*more: str) -> tuple[str, ...]:
    return (*LATTE, *sets(*IMAGE, *more))


def video_options(init: Path, learn: str, *more: str) -> tuple[str, ...]:
    """Two blocks in space, two along time."""
    return (*LATTE, *sets(*VIDEO, f"train.init={init}", f"train.learn={learn}", *more))


def sets(*texts: str) -> tuple[str, ...]:
    return tuple(word for text in ("train.validate_every=0", *texts) for word in ("--set", text))


def low_rank_options(base: Path) -> tuple[str, ...]:
    """Branches beside a model of images, moved far."""
    return image_options(f"train.init={base}", "train.learn=lora:2", "train.snapshots=1", *FAST)
