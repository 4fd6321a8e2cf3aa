"""Other decoders behind the interface of `clipmill.curate.video.reader`: decord, torchcodec. The default is PyAV.

Container facts and PTS always come from PyAV; only the pictures come from the other library, and a count that
disagrees with the packet index is an error, not a guess. Call these in worker processes only: decord can hang for ever.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from clipmill.curate.errors import DecodeError, UserError, one_line
from clipmill.curate.video.picture import shrink, small_pictures, upright
from clipmill.curate.video.reader import (
    DecodeLog,
    Frame,
    VideoDecoder,
    VideoInfo,
    fit_short_side,
    keyframes,
    open_video,
)
from clipmill.curate.video.signals import THUMB_SHAPE
from clipmill.curate.video.timeline import Timeline, placed

DECODERS = ("pyav", "decord", "torchcodec")
# decord has no AV1 decoder, hangs on MPEG-TS and returns wrong frames for AVI and for edit lists.
_DECORD_REFUSES = ("mpegts", "avi")


class FrameSource(Protocol):
    """What a worker reads a video through."""

    info: VideoInfo
    log: DecodeLog

    def __iter__(self) -> Iterator[Frame]: ...


class ArrayFrame(Frame):
    """A frame that arrived as RGB uint8 [H, W, 3] in coded orientation."""

    __slots__ = ("_rgb",)

    def __init__(self, rgb: np.ndarray, pts: int, info: VideoInfo) -> None:
        self._rgb, self.pts = rgb, pts
        self.duration_pts, self.interlaced = 0, False
        self.rotation_deg, self.mirrored, self.sar = info.rotation_deg, info.mirrored, info.sar

    def luma(self) -> np.ndarray:
        return upright(cv2.cvtColor(self._rgb, cv2.COLOR_RGB2GRAY), self.rotation_deg, self.mirrored)

    def small(self) -> tuple[np.ndarray, np.ndarray]:
        luma, _ = small_pictures(cv2.cvtColor(self._rgb, cv2.COLOR_RGB2GRAY), None, None, True)
        return luma, np.dstack(
            [shrink(np.ascontiguousarray(self._rgb[..., c]), THUMB_SHAPE[1], THUMB_SHAPE[0]) for c in range(3)]
        )

    def _scaled(self, pixel_format: str, short_side_px: int) -> np.ndarray:
        sar = self.sar if self.rotation_deg % 180 == 0 else 1 / self.sar
        size = fit_short_side(self._rgb.shape[1], self._rgb.shape[0], sar, short_side_px)
        picture = cv2.resize(self._rgb, size, interpolation=cv2.INTER_AREA)
        if pixel_format == "gray":
            picture = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        return np.ascontiguousarray(upright(picture, self.rotation_deg, self.mirrored))


class _ArraySource:
    def __init__(self, info: VideoInfo, log: DecodeLog, pictures: Iterator[tuple[int, np.ndarray]]) -> None:
        self.info, self.log, self._pictures = info, log, pictures

    def __iter__(self) -> Iterator[Frame]:
        for pts, rgb in self._pictures:
            self.log.n_frames += 1
            yield ArrayFrame(rgb, pts, self.info)


@contextmanager
def open_frames(path: Path, decoder: str = "pyav") -> Iterator[FrameSource]:
    """One sequential decode of `path` by the named decoder.

    Raises DecodeError where the video cannot be read, UserError where the decoder is unknown or not installed.
    """
    with open_video(path) as (container, stream):
        source = VideoDecoder(container, stream, watched=decoder == "pyav")
        if decoder == "pyav":
            yield source
            return
        packets = sorted(_presented_pts(path))
        if decoder == "decord":
            pictures = _decord(path, source.info, packets)
        elif decoder == "torchcodec":
            pictures = _torchcodec(path, source.info, packets)
        else:
            raise UserError(f"no decoder called {decoder!r}; there are: {', '.join(DECODERS)}")
        keys, n_jumps = _keyframe_pts(path)
        log = DecodeLog(keyframe_pts=keys, n_jumps=n_jumps, corrupt=None)
        yield _ArraySource(source.info, log, pictures)


def _presented_pts(path: Path) -> list[int]:
    with open_video(path) as (container, stream):
        return [p.pts for p in placed(container, stream) if p.pts is not None and not p.is_discard]


def _keyframe_pts(path: Path) -> tuple[list[int], int]:
    """(PTS of key frames, jumps of the time stamps)."""
    with open_video(path) as (container, stream):
        line = Timeline(container, stream)
        keys = keyframes(placed(container, stream, line))
        return keys, line.n_jumps


def _decord(path: Path, info: VideoInfo, packets: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    if any(name in info.container.split(",") for name in _DECORD_REFUSES) or info.video_codec == "av1":
        raise DecodeError(f"decord cannot be trusted with {info.video_codec} in {info.container}: use decoder = 'pyav'")
    try:
        import decord
    except (ImportError, OSError, RuntimeError) as error:
        raise UserError(
            "decord is not installed (it has wheels for Linux on x86-64 only): use decoder = 'pyav'"
        ) from error
    try:
        reader = decord.VideoReader(str(path), num_threads=1, fault_tol=0)
    except Exception as error:
        raise DecodeError(f"decord: {one_line(error)}") from error
    if len(reader) != len(packets):
        raise DecodeError(f"decord counts {len(reader)} frames, the packet index {len(packets)}: use decoder = 'pyav'")
    for index, pts in enumerate(packets):
        try:
            yield pts, reader[index].asnumpy()
        except Exception as error:
            raise DecodeError(f"decord: {one_line(error)} at frame {index}") from error


def torchcodec_problem() -> str | None:
    """Why torchcodec cannot be used here, None where it can. Its import fails in three different ways."""
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, OSError, RuntimeError) as error:
        return one_line(error, 200)
    return None


def _torchcodec(path: Path, info: VideoInfo, packets: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    problem = torchcodec_problem()
    if problem:
        raise UserError(f"torchcodec does not import ({problem}): use decoder = 'pyav'")
    from torchcodec.decoders import VideoDecoder as TorchDecoder

    try:
        decoder = TorchDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="exact")
        if len(decoder) != len(packets):
            raise DecodeError(
                f"torchcodec counts {len(decoder)} frames, the packet index {len(packets)}: use decoder = 'pyav'"
            )
        for index, pts in enumerate(packets):
            yield pts, decoder[index].numpy()
    except (RuntimeError, ValueError, IndexError) as error:
        raise DecodeError(f"torchcodec: {one_line(error)}") from error
