"""What the videos to sample are conditioned on: asked for, or drawn from what the training clips were conditioned
on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from clipmill.curate.errors import UserError
from clipmill.models.checkpoints.conditions import TRAINED_ON
from clipmill.models.core.keyed import keyed_rng


@dataclass(frozen=True)
class Prompt:
    """One video to make. caption: "" for none. numbers: column -> value, NaN for unknown. first: uint8 [3, H, W], the
    frame to begin with.
    """

    index: int
    caption: str
    label: str | None
    numbers: Mapping[str, float]
    first: torch.Tensor | None = None


def draw_prompts(
    root: Path,
    count: int,
    seed: int,
    captions: Sequence[str],
    label: str | None,
    numbers: Mapping[str, float],
    first: Sequence[torch.Tensor],
    reads_text: bool,
) -> list[Prompt]:
    """`count` prompts; captions and first frames by turns. What is not asked for comes from a training clip, the same
    for a seed and number.

    reads_text: whether the model does; captions of the training clips have no part in what another one makes. Raises
    UserError for captions and numbers that the model was not trained with.
    """
    if captions and not reads_text:
        raise UserError("this model is not conditioned on text: leave --caption and --captions out")
    trained = _trained_on(root)
    known = [name.removeprefix("number_") for name in (trained[0] if trained else {}) if name.startswith("number_")]
    unknown = [name for name in numbers if name not in known]
    if unknown:
        raise UserError(f"this model is not conditioned on {unknown[0]!r}; it knows {', '.join(known) or 'no numbers'}")
    made = (_prompt(index, trained, seed, captions, label, numbers, first) for index in range(count))
    return [prompt if reads_text else replace(prompt, caption="") for prompt in made]


def _prompt(
    index: int,
    trained: list[dict[str, Any]],
    seed: int,
    captions: Sequence[str],
    label: str | None,
    numbers: Mapping[str, float],
    first: Sequence[torch.Tensor],
) -> Prompt:
    # The word is part of the key: another one would draw other conditions for the same seed.
    row = trained[int(keyed_rng(seed, "wish", "", index).integers(len(trained)))] if trained else {}
    own = {name.removeprefix("number_"): float(value) for name, value in row.items() if name.startswith("number_")}
    caption = captions[index % len(captions)] if captions else str(row.get("caption") or "")
    chosen = label if label is not None else row.get("label")
    return Prompt(index, caption, chosen, own | dict(numbers), first[index % len(first)] if first else None)


def _trained_on(root: Path) -> list[dict[str, Any]]:
    path = root / TRAINED_ON
    return pq.read_table(path).to_pylist() if path.is_file() else []


def first_frames(path: Path, height_px: int, width_px: int) -> list[torch.Tensor]:
    """uint8 [3, H, W] each: of a picture, the first frame of a video, or all of either in a folder, in natural order.
    Raises UserError.
    """
    from clipmill.curate.video.resize_to_cover import covered
    from clipmill.evaluate.sets import natural_key

    if not path.exists():
        raise UserError(f"there is no {path} to take first frames from")
    files = (
        sorted((p for p in path.iterdir() if p.is_file()), key=lambda p: natural_key(p.name))
        if path.is_dir()
        else [path]
    )
    pictures = [picture for file in files if (picture := _picture(file)) is not None]
    if not pictures:
        raise UserError(f"{path} holds no picture and no video")
    return [covered(torch.from_numpy(p.transpose(2, 0, 1))[None], height_px, width_px)[0] for p in pictures]


def _picture(file: Path) -> np.ndarray | None:
    """uint8 [H, W, 3] RGB, upright; None where the file shows nothing."""
    import av

    from clipmill.curate.errors import DecodeError
    from clipmill.curate.video.open_av import open_av
    from clipmill.curate.video.orientation import orientation_of
    from clipmill.curate.video.picture import upright

    try:
        with open_av(file, pictures=True) as container:
            frame = next(container.decode(video=0))
            picture = upright(frame.to_ndarray(format="rgb24"), *orientation_of(frame))
    except (DecodeError, av.error.FFmpegError, IndexError, StopIteration, OSError):
        return None
    return np.ascontiguousarray(picture)
