"""From decoded frames to a network's input, step by step as a protocol says. What the named protocols do was read from
their code.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from clipmill.curate.errors import UserError
from clipmill.evaluate.frames.protocol import Protocol, Resize

_CHUNK_VALUES = 1 << 24


def preprocess(frames: np.ndarray, protocol: Protocol, side_px: int) -> torch.Tensor:
    """uint8 [T, H, W, 3] RGB -> float32 [T, 3, side_px, side_px] in [-1, 1], computed as 2 x / 255 - 1.

    First the loader's step where the protocol has one, then its resize in its geometry, then 8 bits where it says so:
    by truncation, as the peers do it (`.byte()`), not by rounding. Raises UserError for other arrays, and where resize
    is `none` and the size differs.
    """
    if (
        not isinstance(frames, np.ndarray)
        or frames.dtype != np.uint8
        or frames.ndim != 4
        or frames.shape[3] != 3
        or 0 in frames.shape
    ):
        kind = f"{frames.dtype} {list(frames.shape)}" if isinstance(frames, np.ndarray) else type(frames).__name__
        raise UserError(f"videos are uint8 [T, H, W, 3] with values 0 to 255, not {kind}")
    if protocol.loader_side_px is not None:
        frames = loader_step(frames, protocol.loader_side_px)
    pixels = _resized(frames, protocol, side_px)
    if protocol.uint8_after_resize:
        pixels = pixels.clamp(0, 255).floor()
    return pixels.mul_(2).div_(255).sub_(1)


def loader_step(frames: np.ndarray, side_px: int) -> np.ndarray:
    """uint8 [T, H, W, 3] -> uint8 [T, side_px, side_px, 3]: short side scaled with antialiasing, centre crop.

    In fractions of 255 and truncated to 8 bits, exactly as cd-fvd's loader and evaluator do it, one after the other.
    """

    def scaled(chunk: np.ndarray) -> torch.Tensor:
        return _centre(
            _interpolated(_channels_first(chunk) / 255, covering(chunk.shape[1:3], side_px), antialias=True), side_px
        )

    pixels = _in_chunks(frames, side_px * side_px, lambda chunk: (scaled(chunk) * 255).byte())
    return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())


def covering(size_px: tuple[int, ...], side_px: int) -> tuple[int, int]:
    """(height, width) of a picture scaled so that its short side is `side_px`, the long side rounded up.

    In floating point as the peers write it, so that their results are met to the pixel: for a few squares (200 or 400
    px to 224 px) the height comes out one row larger, which the crop removes again.
    """
    height, width = size_px
    scale = side_px / min(height, width)
    return (side_px, math.ceil(width * scale)) if height < width else (math.ceil(height * scale), side_px)


def tf1_bilinear(frames: np.ndarray, height_px: int, width_px: int) -> np.ndarray:
    """uint8 [T, H, W, 3] -> float32 [T, 3, height_px, width_px] in 0 to 255: TensorFlow 1's `resize_bilinear`, bit by
    bit.

    Its legacy grid: target pixel i lies at i * in / out, without half-pixel centres and without antialiasing; columns
    are mixed before rows, each as a + (b - a) * t in float32 (tensorflow/core/kernels/image/resize_bilinear_op.cc).
    """
    top, bottom, down = _legacy_grid(frames.shape[1], height_px)
    left, right, across = _legacy_grid(frames.shape[2], width_px)
    rows, row_index = np.unique(np.concatenate([top, bottom]), return_inverse=True)
    # Columns outermost, so that choosing one copies a run; only rows that are used.
    columns = np.ascontiguousarray(frames[:, rows].transpose(0, 2, 1, 3))
    mixed = _mixed(columns, left, right, across)
    by_rows = np.ascontiguousarray(mixed.transpose(0, 2, 3, 1))
    out = _mixed(by_rows, row_index[: len(top)], row_index[len(top) :], down)
    return np.ascontiguousarray(out.transpose(0, 2, 1, 3))


def _legacy_grid(size_px: int, wanted_px: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(index before, index after, float32 weight of the one after) of every target pixel."""
    position = np.arange(wanted_px, dtype=np.float32) * np.float32(np.float32(size_px) / np.float32(wanted_px))
    before = np.floor(position).astype(np.int64)
    return before, np.minimum(before + 1, size_px - 1), position - before.astype(np.float32)


def _mixed(values: np.ndarray, first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """[T, N, A, B] -> float32 [T, len(first), A, B]."""
    base = values.take(first, axis=1).astype(np.float32, copy=False)
    change = values.take(second, axis=1).astype(np.float32, copy=False)
    change -= base
    change *= weight[:, None, None]
    change += base
    return change


def _resized(frames: np.ndarray, protocol: Protocol, side_px: int) -> torch.Tensor:
    """float32 [T, 3, side_px, side_px] in 0 to 255."""
    height, width = frames.shape[1:3]
    if protocol.resize == "none":
        if (height, width) != (side_px, side_px):
            raise UserError(
                f"protocol {protocol.name} does not resize: videos must be {side_px} x {side_px}, these are {width} x"
                f" {height}"
            )
        return _channels_first(frames).contiguous()
    target = covering((height, width), side_px) if protocol.geometry == "short-side-crop" else (side_px, side_px)
    resize = _resizer(protocol.resize, target)
    return _in_chunks(frames, target[0] * target[1], lambda chunk: _centre(resize(chunk), side_px))


def _resizer(resize: Resize, target: tuple[int, int]) -> Callable[[np.ndarray], torch.Tensor]:
    if resize == "tf1-bilinear":
        return lambda chunk: torch.from_numpy(tf1_bilinear(chunk, *target))
    antialias = resize == "bilinear-antialias"
    return lambda chunk: _interpolated(_channels_first(chunk), target, antialias)


def _interpolated(pixels: torch.Tensor, target: tuple[int, int], antialias: bool) -> torch.Tensor:
    return F.interpolate(pixels, size=target, mode="bilinear", align_corners=False, antialias=antialias)


def _centre(pixels: torch.Tensor, side_px: int) -> torch.Tensor:
    """[T, C, H, W] -> [T, C, side_px, side_px]."""
    top, left = (pixels.shape[2] - side_px) // 2, (pixels.shape[3] - side_px) // 2
    return pixels[:, :, top : top + side_px, left : left + side_px]


def _channels_first(frames: np.ndarray) -> torch.Tensor:
    """uint8 [T, H, W, 3] -> float32 [T, 3, H, W]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float()


def _in_chunks(frames: np.ndarray, target_pixels: int, step: Callable[[np.ndarray], torch.Tensor]) -> torch.Tensor:
    """`step` over a few frames at a time, so that large pictures never exist in float all at once."""
    per_frame = 3 * max(frames.shape[1] * frames.shape[2], target_pixels)
    count = max(1, _CHUNK_VALUES // per_frame)
    parts = [step(frames[start : start + count]) for start in range(0, len(frames), count)]
    return torch.cat(parts).contiguous()
