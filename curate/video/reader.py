"""Reading video with PyAV: container facts, one exact sequential decode, and exact random access by PTS.

Times are integer PTS of the stream's time base. Frames come in display order with strictly increasing PTS; where a
container has none, they are made from the declared rate. Nothing here trusts a declared frame count or duration.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from clipmill.curate.errors import DecodeError, one_line
from clipmill.curate.video.open_av import open_av
from clipmill.curate.video.picture import small_pictures, to_planes, upright
from clipmill.curate.video.refusals import refusal

MAX_ERRORS_IN_A_ROW = 200


@dataclass(frozen=True)
class VideoInfo:
    """Facts from the container and the first frame. `width`, `height` and the sample aspect ratio are after rotation.

    n_packets_beyond_end: packets that the container's index places behind the end of the file; over 0: it was
    truncated.
    """

    container: str
    video_codec: str
    pix_fmt: str
    width: int
    height: int
    sar: Fraction
    rotation_deg: int
    time_base: Fraction
    declared_fps: Fraction
    declared_duration_s: float | None
    has_audio: bool
    n_packets_beyond_end: int


@dataclass
class DecodeLog:
    """What a sequential decode met; filled while it runs.

    keyframe_pts: PTS of keyframe packets, in the order of the file. n_decode_errors: packets that could not be decoded.
    error_message: the error that ended the decode early, None at a clean end of file.
    """

    keyframe_pts: list[int] = field(default_factory=list)
    n_frames: int = 0
    n_decode_errors: int = 0
    n_interlaced: int = 0
    error_message: str | None = None


class Frame:
    """One decoded frame. `pts` in the stream's time base; pixels are converted only when asked for."""

    __slots__ = ("_av", "_planes", "_scaler", "duration_pts", "interlaced", "pts", "rotation_deg", "sar")

    def __init__(self, frame: VideoFrame, pts: int, info: VideoInfo, scaler: VideoReformatter) -> None:
        self._av, self.pts, self._scaler = frame, pts, scaler
        self.duration_pts = frame.duration or 0
        self.interlaced = bool(frame.interlaced_frame)
        self.rotation_deg, self.sar = info.rotation_deg, info.sar
        self._planes: tuple[np.ndarray, np.ndarray | None, np.ndarray | None, bool] | None = None

    def _yuv(self) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, bool]:
        if self._planes is None:
            self._planes = to_planes(self._av, self._scaler)
        return self._planes

    @property
    def native(self) -> VideoFrame:
        """The decoded frame as PyAV gives it, for libav filter graphs."""
        return self._av

    def luma(self) -> np.ndarray:
        """uint8 [H, W], full resolution, upright, as coded (limited or full range). A view where the format allows."""
        return upright(self._yuv()[0], self.rotation_deg)

    def small(self) -> tuple[np.ndarray, np.ndarray]:
        """(luma uint8 [54, 96], RGB uint8 [27, 48, 3]) of the whole frame, not turned upright, for cuts and signals."""
        return small_pictures(*self._yuv())

    def rgb(self, short_side_px: int) -> np.ndarray:
        """uint8 [H, W, 3], upright, square pixels, the shorter side at most `short_side_px` (never enlarged)."""
        return self._scaled("rgb24", short_side_px)

    def gray(self, short_side_px: int) -> np.ndarray:
        """uint8 [H, W] full-range luma, upright, square pixels, the shorter side at most `short_side_px`."""
        return self._scaled("gray", short_side_px)

    def _scaled(self, pixel_format: str, short_side_px: int) -> np.ndarray:
        sar = self.sar if self.rotation_deg % 180 == 0 else 1 / self.sar
        width, height = fit_short_side(self._av.width, self._av.height, sar, short_side_px)
        picture = self._scaler.reformat(
            self._av, width, height, pixel_format, interpolation="AREA", threads=1
        ).to_ndarray()
        return np.ascontiguousarray(upright(picture, self.rotation_deg))


def fit_short_side(width_px: int, height_px: int, sar: Fraction, short_side_px: int) -> tuple[int, int]:
    """Size with square pixels whose shorter side is at most `short_side_px`; at least 1 x 1."""
    square_width = max(1.0, width_px * float(sar))
    scale = min(1.0, short_side_px / min(square_width, height_px))
    return max(1, round(square_width * scale)), max(1, round(height_px * scale))


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a container and pick its video: the first video stream that is not a cover picture.

    Raises DecodeError, in one line, where the file is no container, has no video stream, or has no decoder.
    """
    container = open_av(path)
    try:
        streams = [
            s for s in container.streams.video if not int(s.disposition) & int(av.stream.Disposition.attached_pic)
        ]
        if not streams:
            kinds = sorted({s.type for s in container.streams})
            raise DecodeError(f"no video stream (streams: {', '.join(kinds) or 'none'})")
        stream = streams[0]
        if stream.codec_context is None:
            raise DecodeError("no decoder for the video codec")
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        yield container, stream
    finally:
        container.close()


def describe(container: InputContainer, stream: VideoStream, first: VideoFrame) -> VideoInfo:
    """Container facts; rotation and size from the first frame, because headers may be silent or wrong."""
    rotation_deg = -first.rotation % 360
    rotation_deg = round(rotation_deg / 90) * 90 % 360
    sar = stream.sample_aspect_ratio or Fraction(1)
    sar = sar if sar > 0 else Fraction(1)
    width, height = (first.width, first.height) if rotation_deg % 180 == 0 else (first.height, first.width)
    rates = (r for r in (stream.average_rate, stream.guessed_rate, stream.base_rate) if r)
    return VideoInfo(
        container=container.format.name,
        video_codec=stream.codec_context.codec.canonical_name,
        pix_fmt=first.format.name,
        width=width,
        height=height,
        sar=sar if rotation_deg % 180 == 0 else 1 / sar,
        rotation_deg=rotation_deg,
        time_base=stream.time_base or Fraction(1, 90000),
        declared_fps=next(rates, Fraction(25)),
        declared_duration_s=container.duration / av.time_base if container.duration else None,
        has_audio=bool(container.streams.audio),
        n_packets_beyond_end=sum(entry.pos + entry.size > container.size for entry in stream.index_entries),
    )


class VideoDecoder:
    """One sequential decode of a video. Iterate it once; `info` is known from the start, `log` fills as it goes.

    Raises DecodeError at construction where not even one frame can be decoded. A later fatal error ends the iteration
    and is left in `log.error_message`; a packet that cannot be decoded is counted and skipped.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self.log = DecodeLog()
        self._frames = self._decode(container, stream)
        first = next(self._frames, None)
        if first is None:
            reason = refusal(Path(container.name)) or self.log.error_message
            raise DecodeError(reason or f"no frame could be decoded ({self.log.n_decode_errors} bad packets)")
        self._first = first
        self.info = describe(container, stream, first)

    def __iter__(self) -> Iterator[Frame]:
        scaler = VideoReformatter()
        step = max(1, round(1 / (self.info.declared_fps * self.info.time_base)))
        last: int | None = None
        # AVI stores no presentation times: libav guesses them from the packet order, wrongly beside B-frames; the dts
        # counts frames.
        stamps_lie = "avi" in self.info.container.split(",")
        for raw in self._with_first():
            pts = raw.dts if raw.pts is None or (stamps_lie and raw.dts is not None) else raw.pts
            if pts is None or (last is not None and pts <= last):
                pts = 0 if last is None else last + (step if pts is None else 1)
            last = pts
            self.log.n_frames += 1
            frame = Frame(raw, pts, self.info, scaler)
            self.log.n_interlaced += frame.interlaced
            yield frame

    def _with_first(self) -> Iterator[VideoFrame]:
        yield self._first
        yield from self._frames

    def _decode(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        errors_in_a_row = 0
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, OSError) as error:
                self.log.error_message = one_line(error)
                return
            if packet is None:
                return
            if packet.is_keyframe and packet.pts is not None and not packet.is_discard:
                self.log.keyframe_pts.append(packet.pts)
            try:
                yield from packet.decode()
                errors_in_a_row = 0
            except av.error.EOFError:
                return
            except (av.error.FFmpegError, OSError) as error:
                self.log.n_decode_errors += 1
                errors_in_a_row += 1
                if errors_in_a_row >= MAX_ERRORS_IN_A_ROW:
                    self.log.error_message = (
                        f"{MAX_ERRORS_IN_A_ROW} packets in a row cannot be decoded: {one_line(error)}"
                    )
                    return


def frames_at(path: Path, pts: Sequence[int], keyframe_pts: Sequence[int] | None = None) -> Iterator[Frame]:
    """The frames on screen at the given times, in increasing order: for each, the last frame with frame.pts <= pts.

    Exact by construction: seek to the keyframe at or before the target, check the first decoded PTS, step back a
    keyframe where it is late, and scan from the start where the container cannot seek. `keyframe_pts` as stored in
    `videos`; without it the packets are indexed first, without decoding.
    """
    wanted = sorted({int(p) for p in pts})
    with open_video(path) as (container, stream):
        keys = sorted(keyframe_pts) if keyframe_pts is not None and len(keyframe_pts) else _keyframes(container, stream)
        position = 0
        while position < len(wanted):
            target = wanted[position]
            next_key = next((k for k in keys if k > target), None)
            group = [p for p in wanted[position:] if next_key is None or p < next_key]
            yield from _frames_in_gop(container, stream, keys, group)
            position += len(group)


def _keyframes(container: InputContainer, stream: VideoStream) -> list[int]:
    return sorted(p.pts for p in container.demux(stream) if p.is_keyframe and p.pts is not None and not p.is_discard)


def _frames_in_gop(
    container: InputContainer, stream: VideoStream, keys: Sequence[int], wanted: Sequence[int]
) -> Iterator[Frame]:
    starts = [k for k in keys if k <= wanted[0]][::-1]
    for start in [*starts[:3], None]:
        container.seek(
            start if start is not None else _stream_start(stream), stream=stream, backward=True, any_frame=False
        )
        try:
            frames = iter(VideoDecoder(container, stream))
        except DecodeError:
            # MPEG-TS may seek past its last keyframe and find nothing there.
            if start is None:
                raise
            continue
        held = next(frames)
        if held.pts > wanted[0] and start is not None:
            continue
        for target in wanted:
            for frame in frames:
                if frame.pts > target:
                    yield held
                    held = frame
                    break
                held = frame
            else:
                yield held
        return


def _stream_start(stream: VideoStream) -> int:
    return min(stream.start_time or 0, 0)
