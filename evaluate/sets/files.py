"""Frames of a video file, or of a span of one, by their exact times."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from clipmill.curate.common.content import State, state_of
from clipmill.curate.errors import DecodeError, one_line
from clipmill.curate.inputs.files import Source
from clipmill.curate.video.reader import Frame, VideoDecoder, frames_at, open_video
from clipmill.curate.video.timeline import Timeline, placed
from clipmill.evaluate.sets import Frames

# Containers that store the presentation time of every packet: their packets tell the frames without decoding.
_TIMED = frozenset({"mov", "mp4", "matroska", "webm"})
_NATIVE_PX = 1 << 20
Opened = Callable[[], AbstractContextManager[Frames]]


@dataclass
class FileFrames:
    """A video file. span_pts: [start, end) of it, None for all of it. crop_px: (x, y, w, h) in display px, None for the
    whole picture.
    """

    path: Path
    span_pts: tuple[int, int] | None = None
    crop_px: tuple[int, int, int, int] | None = None
    size_px: tuple[int, int] | None = None
    has_alpha: bool = False
    _pts: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    _keys: list[int] = field(default_factory=list)
    _continuous: bool = True

    def times_s(self) -> np.ndarray:
        """See `Frames`. Raises DecodeError where the file cannot be read."""
        with open_video(self.path) as (container, stream):
            self.has_alpha = _has_alpha(stream)
            timed = bool(_TIMED & set(container.format.name.split(",")))
            unit_s = float(stream.time_base or 0)
            try:
                pts = self._packets(container, stream) if timed else self._decoded(VideoDecoder(container, stream))
            except (av.error.FFmpegError, OSError) as error:
                raise DecodeError(one_line(error)) from error
        low, high = self.span_pts or (-(1 << 62), 1 << 62)
        self._pts = np.asarray(sorted({p for p in pts if low <= p < high}), np.int64)
        return self._pts * unit_s

    def _decoded(self, decoder: VideoDecoder) -> list[int]:
        pts = [frame.pts for frame in decoder]
        self._continuous = not decoder.log.n_jumps
        return pts

    def _packets(self, container: InputContainer, stream: VideoStream) -> list[int]:
        line = Timeline(container, stream)
        packets = placed(container, stream, line)
        shown = [(p.pts, p.is_keyframe) for p in packets if p.size and p.pts is not None and not p.is_discard]
        self._continuous = not line.n_jumps
        self._keys = sorted(pts for pts, key in shown if key)
        return [pts for pts, _ in shown]

    def read(self, index: np.ndarray) -> np.ndarray:
        """See `Frames`. Raises DecodeError where a frame that the container promises does not decode."""
        if len(self._pts) == 0:
            self.times_s()
        wanted = self._pts[index].tolist()
        distinct = sorted(set(wanted))
        pictures = {}
        frames = frames_at(self.path, distinct, self._keys or None, self._continuous)
        for pts, frame in zip(distinct, frames, strict=False):
            if frame.pts != pts:
                raise DecodeError(f"the frame at {pts} (pts) does not decode")
            pictures[pts] = self._picture(frame)
        if len(pictures) < len(distinct):
            raise DecodeError(f"{len(distinct) - len(pictures)} of {len(distinct)} frames do not decode")
        if len({p.shape for p in pictures.values()}) > 1:
            raise DecodeError("the picture changes its size within the clip")
        return np.stack([pictures[pts] for pts in wanted])

    def _picture(self, frame: Frame) -> np.ndarray:
        picture = frame.rgb(_NATIVE_PX)
        if self.crop_px is None or self.size_px is None:
            return picture
        # The box counts coded pixels; anamorphic pictures were made square.
        sx, sy = picture.shape[1] / self.size_px[0], picture.shape[0] / self.size_px[1]
        x, y, w, h = self.crop_px
        return picture[round(y * sy) : round((y + h) * sy), round(x * sx) : round((x + w) * sx)]


def _has_alpha(stream: VideoStream) -> bool:
    # A GIF always decodes with one.
    pixels = stream.codec_context.format
    return pixels is not None and stream.codec_context.name != "gif" and any(c.is_alpha for c in pixels.components)


@contextmanager
def file_frames(
    path: Path,
    span_pts: tuple[int, int] | None = None,
    crop_px: tuple[int, int, int, int] | None = None,
    size_px: tuple[int, int] | None = None,
) -> Iterator[FileFrames]:
    """A video file opened as `Frames`. size_px: display width and height of the whole picture that `crop_px` counts
    in.
    """
    yield FileFrames(path, span_pts, crop_px, size_px)


def unchanged(opened: Opened, path: Path, state: State) -> Opened:
    """`opened`, which reads `path`, as long as the file is as it was when it was listed."""
    return partial(_watched, opened, path, state)


def source_frames(source: Source) -> Opened:
    """A whole video file that was indexed."""
    opened = partial(file_frames, source.path)
    return opened if source.state is None else unchanged(opened, source.path, source.state)


@contextmanager
def _watched(opened: Opened, path: Path, state: State) -> Iterator[Frames]:
    """Raises DecodeError, before it is opened or after it was read, where the file has changed."""
    _check(path, state)
    with opened() as frames:
        yield frames
    _check(path, state)


def _check(path: Path, state: State) -> None:
    try:
        same = state_of(path) == state
    except OSError as error:
        raise DecodeError(one_line(error)) from error
    if not same:
        raise DecodeError("its file was changed while it was measured: run the command again")


@contextmanager
def bytes_frames(data: bytes, suffix: str) -> Iterator[FileFrames]:
    """A video file that is a member of an archive. Where the system can open a file without a name, a command that is
    killed leaves none.
    """
    import tempfile

    with tempfile.TemporaryFile() as file:
        nameless = Path(f"/proc/self/fd/{file.fileno()}")
        if nameless.exists():
            file.write(data)
            file.flush()
            yield FileFrames(nameless)
            return
    with tempfile.NamedTemporaryFile(suffix=suffix) as named:
        named.write(data)
        named.flush()
        yield FileFrames(Path(named.name))
