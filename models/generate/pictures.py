"""Pictures and videos of a user, at the size of a model."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from clipmill.curate.errors import UserError


def pictures_at(path: Path, height_px: int, width_px: int) -> list[torch.Tensor]:
    """uint8 [3, H, W] each: of a picture, the first frame of a video, or all of either in a folder, in natural order;
    of another shape they are cropped in the middle. Raises UserError.
    """
    from clipmill.curate.video.resize_to_cover import covered

    pictures = [picture for file in files_of(path) if (picture := _picture(file)) is not None]
    if not pictures:
        raise UserError(f"{path} holds no picture and no video")
    return [covered(torch.from_numpy(p.transpose(2, 0, 1))[None], height_px, width_px)[0] for p in pictures]


def files_of(path: Path) -> Sequence[Path]:
    """The file, or those of a folder in natural order. Raises UserError where there is none."""
    from clipmill.evaluate.sets import natural_key

    if not path.exists():
        raise UserError(f"there is no {path} to take frames from")
    if not path.is_dir():
        return [path]
    return sorted((p for p in path.iterdir() if p.is_file()), key=lambda p: natural_key(p.name))


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
