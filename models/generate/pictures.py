"""Pictures and videos of a user, at the size of a model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from clipmill.curate.errors import DecodeError, UserError
from clipmill.models.layers.plan import Grid


@dataclass(frozen=True)
class Pictures:
    """pixels: uint8 [3, H, W] each, at the size asked for. cropped: how many were of another shape. others: files
    of the folder that show nothing.
    """

    pixels: list[torch.Tensor]
    cropped: int
    others: int


def pictures_at(path: Path, height_px: int, width_px: int) -> Pictures:
    """Of a picture, the first frame of a video, or all of either in a folder, in natural order; of another shape they
    are cropped in the middle. Raises UserError.
    """
    from clipmill.curate.video.resize_to_cover import covered

    files = files_of(path)
    found = [picture for file in files if (picture := _picture(file)) is not None]
    if not found:
        raise UserError(f"{path} holds no picture and no video")
    pixels = [covered(torch.from_numpy(p.transpose(2, 0, 1))[None], height_px, width_px)[0] for p in found]
    cropped = sum(is_cropped(p.shape[0], p.shape[1], (height_px, width_px)) for p in found)
    return Pictures(pixels, cropped, len(files) - len(found))


def is_cropped(height: int, width: int, size_px: tuple[int, int]) -> bool:
    """Whether a picture loses more than a pixel of the smaller one at its sides."""
    scale = max(size_px[0] / height, size_px[1] / width)
    return max(height * scale - size_px[0], width * scale - size_px[1]) > 1


@dataclass(frozen=True)
class Windows:
    """Windows of videos, one behind the other. pixels: uint8 [T, 3, H, W] each, at the size asked for. key: of what all
    the videos hold, read or not. cropped: how many windows were of another shape.
    """

    pixels: list[torch.Tensor]
    key: str
    cropped: int


def windows_at(path: Path, grid: Grid, fps: float, most: int) -> Windows:
    """Up to `most` windows of `grid` (frames, height px, width px), at about `fps`, 1/s, of a video, or of all of a
    folder in natural order; what is left over at a video's end is no window. Raises UserError where there is none.
    """
    from clipmill.curate.video.resize_to_cover import covered
    from clipmill.evaluate.sets import open_set

    videos, found, longest, cropped = open_set(path).videos, list[torch.Tensor](), 0, 0
    for video in videos:
        if len(found) >= most:
            break
        with as_user_error(path), video.open() as frames:
            times = frames.times_s()
            chosen = _at_rate(times, fps)
            longest = max(longest, len(chosen))
            for begin in range(0, len(chosen) - grid[0] + 1, grid[0])[: most - len(found)]:
                pictures = frames.read(chosen[begin : begin + grid[0]]).transpose(0, 3, 1, 2)
                cropped += is_cropped(pictures.shape[2], pictures.shape[3], grid[1:])
                found.append(covered(torch.from_numpy(pictures), *grid[1:]))
    if not found:
        raise UserError(
            f"{path} holds no video of {grid[0]} frames at {fps:g} fps, the longest has {longest}: take fewer --frames,"
            " or a longer video"
        )
    return Windows(found, sha256("".join(video.key for video in videos).encode()).hexdigest(), cropped)


@contextmanager
def as_user_error(path: Path) -> Iterator[None]:
    """What does not decode, in one line."""
    try:
        yield
    except DecodeError as error:
        raise UserError(f"{path} does not decode: {error}") from error


def _at_rate(times: np.ndarray, fps: float) -> np.ndarray:
    """int64: every so many-th frame, so that they are about `fps` apart; all where no rate is known."""
    gap_s = float(np.median(np.diff(times))) if len(times) > 1 else float("nan")
    stride = max(1, round(1 / (gap_s * fps))) if gap_s > 0 else 1
    return np.arange(0, len(times), stride)


def files_of(path: Path) -> Sequence[Path]:
    """The file, or those of a folder in natural order, of samples the videos alone: their contact sheet is no picture.
    Raises UserError where there is none.
    """
    from clipmill.evaluate.sets import natural_key

    if not path.exists():
        raise UserError(f"there is no {path} to take frames from")
    if not path.is_dir():
        return [path]
    files = path.glob("*.mp4") if (path / "sampling.json").is_file() else path.iterdir()
    return sorted((p for p in files if p.is_file()), key=lambda p: natural_key(p.name))


def _picture(file: Path) -> np.ndarray | None:
    """uint8 [H, W, 3] RGB, upright; None where the file shows nothing."""
    import av

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
