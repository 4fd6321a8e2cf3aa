"""Options of an image model of two blocks, and of video models that begin with it."""

from pathlib import Path

LATTE = ("--config", "latte-nano", "--device", "cpu")
IMAGE = ("backbone.options.plans=['spatial']", "data.frames=[1]")
VIDEO = ("backbone.options.depth=4", "backbone.options.time_positions_in=branch")


def image_options() -> tuple[str, ...]:
    return (*LATTE, *sets(*IMAGE))


def video_options(init: Path, learn: str, *more: str) -> tuple[str, ...]:
    """Two blocks in space, two along time."""
    return (*LATTE, *sets(*VIDEO, f"train.init={init}", f"train.learn={learn}", *more))


def sets(*texts: str) -> tuple[str, ...]:
    return tuple(word for text in ("train.validate_every=0", *texts) for word in ("--set", text))
