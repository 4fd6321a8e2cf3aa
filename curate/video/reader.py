"""Reading video with PyAV: container facts, one exact sequential decode, and exact random access by PTS.

Times are integer PTS of the stream's time base. Frames come in display order with strictly increasing PTS; where a
container has none, they are made from the declared rate; where they start anew, they go on by a running offset
(`clipmill.curate.video.timeline`). Nothing here trusts a declared frame count or duration.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from clipmill.curate.errors import DecodeError, one_line
from clipmill.curate.video.doubts import TELL_NOTHING, Doubts, with_breaks
from clipmill.curate.video.open_av import open_av
from clipmill.curate.video.orientation import orientation_of
from clipmill.curate.video.picture import converted, small_pictures, to_planes, upright
from clipmill.curate.video.refusals import refusal, second_recording
from clipmill.curate.video.streams import declared_end_s, moving_stream
from clipmill.curate.video.timeline import Timeline, placed

MAX_ERRORS_IN_A_ROW = 200
_B_FRAME = 3  # AV_PICTURE_TYPE_B


@dataclass(frozen=True)
class VideoInfo:
    """Facts from the container and the first frame. `width`, `height` and the sample aspect ratio are after rotation.

    rotation_deg, mirrored: see `clipmill.curate.video.orientation`.
    declared_end_s: s on the stream's own time line, where the container tells of this stream. n_packets_beyond_end:
    packets that the container's index places behind the end of the file; over 0: it was truncated.
    """

    container: str
    video_codec: str
    pix_fmt: str
    width: int
    height: int
    sar: Fraction
    rotation_deg: int
    mirrored: bool
    time_base: Fraction
    declared_fps: Fraction
    declared_end_s: float | None
    has_audio: bool
    n_packets_beyond_end: int


@dataclass
class DecodeLog:
    """What a sequential decode met; filled while it runs.

    keyframe_pts: PTS of keyframe packets, in the order of the file. n_decode_errors: packets that could not be decoded.
    error_message: the error that ended the decode early, None at a clean end of file. n_jumps: of the time stamps.
    corrupt, keys, bidirectional: indices of the frames that are marked as corrupt (None where nobody looks), of key
    frames, and of B-frames. tells: whether the codec's decoder would notice. lost_pts: PTS of packets that could not be
    decoded. first_pts: PTS of the first packet; starts_with_key: whether it is a key frame. has_second_recording:
    behind the last packet of an FLV, joined byte by byte; libav does not read it.
    """

    keyframe_pts: list[int] = field(default_factory=list)
    n_frames: int = 0
    n_decode_errors: int = 0
    n_interlaced: int = 0
    error_message: str | None = None
    n_jumps: int = 0
    corrupt: list[int] | None = field(default_factory=list)
    tells: bool = True
    keys: list[int] = field(default_factory=list)
    bidirectional: list[int] = field(default_factory=list)
    lost_pts: list[int] = field(default_factory=list)
    first_pts: int | None = None
    starts_with_key: bool = True
    has_second_recording: bool = False


class Frame:
    """One decoded frame. `pts` in the stream's time base; pixels are converted only when asked for."""

    __slots__ = ("_av", "_planes", "_scaler", "duration_pts", "interlaced", "mirrored", "pts", "rotation_deg", "sar")

    def __init__(self, frame: VideoFrame, pts: int, info: VideoInfo, scaler: VideoReformatter) -> None:
        self._av, self.pts, self._scaler = frame, pts, scaler
        self.duration_pts = frame.duration or 0
        self.interlaced = bool(frame.interlaced_frame)
        self.rotation_deg, self.mirrored, self.sar = info.rotation_deg, info.mirrored, info.sar
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
        return upright(self._yuv()[0], self.rotation_deg, self.mirrored)

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
        picture = converted(
            self._scaler, self._av, width=width, height=height, format=pixel_format, interpolation="AREA"
        ).to_ndarray()
        return np.ascontiguousarray(upright(picture, self.rotation_deg, self.mirrored))


def fit_short_side(width_px: int, height_px: int, sar: Fraction, short_side_px: int) -> tuple[int, int]:
    """Size with square pixels whose shorter side is at most `short_side_px`; at least 1 x 1."""
    square_width = max(1.0, width_px * float(sar))
    scale = min(1.0, short_side_px / min(square_width, height_px))
    return max(1, round(square_width * scale)), max(1, round(height_px * scale))


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a container and pick its video: the first video stream that moves.

    Raises DecodeError, in one line, where the file is no container, has no video stream, or has no decoder.
    """
    container = open_av(path)
    try:
        stream = moving_stream(container)
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        yield container, stream
    finally:
        container.close()


def describe(container: InputContainer, stream: VideoStream, first: VideoFrame) -> VideoInfo:
    """Container facts; rotation and size from the first frame, because headers may be silent or wrong."""
    rotation_deg, mirrored = orientation_of(first)
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
        mirrored=mirrored,
        time_base=stream.time_base or Fraction(1, 90000),
        declared_fps=next(rates, Fraction(25)),
        declared_end_s=declared_end_s(container, stream),
        has_audio=bool(container.streams.audio),
        n_packets_beyond_end=sum(entry.pos + entry.size > container.size for entry in stream.index_entries),
    )


class VideoDecoder:
    """One sequential decode of a video. Iterate it once; `info` is known from the start, `log` fills as it goes.

    Raises DecodeError at construction where not even one frame can be decoded. A later fatal error ends the iteration
    and is left in `log.error_message`; a packet that cannot be decoded is counted and skipped.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, watched: bool = False) -> None:
        """watched: libav's complaints count as marks of corrupt frames, too (`clipmill.curate.video.doubts`). They are
        those of the whole process: one decode at a time.
        """
        codec = stream.codec_context.codec.canonical_name
        # AVI stores no presentation times: libav guesses them from the packet order, wrongly beside B-frames; the dts
        # counts frames.
        self._stamps_lie = "avi" in container.format.name.split(",")
        self._doubts = Doubts(codec, self._stamps_lie) if watched else None
        self.log = DecodeLog(tells=codec not in TELL_NOTHING)
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
        for raw in self._with_first():
            pts = raw.dts if raw.pts is None or (self._stamps_lie and raw.dts is not None) else raw.pts
            if pts is None or (last is not None and pts <= last):
                pts = 0 if last is None else last + (step if pts is None else 1)
            last = pts
            self._note(raw, pts)
            self.log.n_frames += 1
            frame = Frame(raw, pts, self.info, scaler)
            self.log.n_interlaced += frame.interlaced
            yield frame
        if not self.log.error_message:
            self._note_left_out(None)

    def _note(self, raw: VideoFrame, pts: int) -> None:
        """Whether the next frame can be trusted, and what it takes to tell it of its neighbours."""
        log, index = self.log, self.log.n_frames
        if raw.key_frame:
            log.keys.append(index)
        if raw.pict_type == _B_FRAME:
            log.bidirectional.append(index)
        doubted = self._doubts is not None and self._doubts.doubted(pts)
        if (raw.is_corrupt or doubted) and log.corrupt is not None:
            log.corrupt.append(index)
        self._note_left_out(pts)

    def _note_left_out(self, pts: int | None) -> None:
        lost = [] if self._doubts is None else self._doubts.left_out(pts)
        self.log.n_decode_errors += len(lost)
        self.log.lost_pts += lost

    def _with_first(self) -> Iterator[VideoFrame]:
        yield self._first
        yield from self._frames

    def _decode(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        errors_in_a_row = 0
        line = Timeline(container, stream)
        packets = with_breaks(placed(container, stream, line))
        is_flv, last_byte = container.format.name == "flv", 0
        while True:
            try:
                packet, broken = next(packets, (None, False))
            except (av.error.FFmpegError, OSError) as error:
                self.log.error_message = one_line(error)
                return
            if packet is None:
                return
            if is_flv and packet.size:
                last_byte = packet.pos or last_byte
            elif is_flv:
                self.log.has_second_recording = second_recording(Path(container.name), last_byte)
            self.log.n_jumps = line.n_jumps
            if self.log.first_pts is None and packet.pts is not None and not packet.is_discard:
                self.log.first_pts, self.log.starts_with_key = packet.pts, packet.is_keyframe
            if packet.is_keyframe and packet.pts is not None and not packet.is_discard:
                self.log.keyframe_pts.append(packet.pts)
            try:
                yield from packet.decode() if self._doubts is None else self._doubts.decode(packet, broken)
                errors_in_a_row = 0
            except av.error.EOFError:
                return
            except (av.error.FFmpegError, OSError) as error:
                self.log.n_decode_errors += 1
                errors_in_a_row += 1
                if packet.size and packet.pts is not None:  # without bytes: the picture before it, once more
                    self.log.lost_pts.append(packet.pts)
                if errors_in_a_row >= MAX_ERRORS_IN_A_ROW:
                    self.log.error_message = (
                        f"{MAX_ERRORS_IN_A_ROW} packets in a row cannot be decoded: {one_line(error)}"
                    )
                    return


def frames_at(
    path: Path, pts: Sequence[int], keyframe_pts: Sequence[int] | None = None, continuous: bool = True
) -> Iterator[Frame]:
    """The frames on screen at the given times, in increasing order: for each, the last frame with frame.pts <= pts.

    Exact by construction: seek to the keyframe at or before the target, check the first decoded PTS, step back a
    keyframe where it is late, and scan from the start where the container cannot seek. `keyframe_pts` as stored in
    `videos`; without it the packets are indexed first, without decoding. continuous: whether `videos` counts no
    discontinuities; with them one decode from the start, because no container can seek there.
    """
    wanted = sorted({int(p) for p in pts})
    with open_video(path) as (container, stream):
        if keyframe_pts is not None and len(keyframe_pts):
            keys = sorted(keyframe_pts)
        else:
            line = Timeline(container, stream)
            keys = keyframes(placed(container, stream, line))
            continuous = continuous and not line.n_jumps
        if not continuous:
            yield from _from_start(path, wanted)
            return
        position = 0
        while position < len(wanted):
            target = wanted[position]
            next_key = next((k for k in keys if k > target), None)
            group = [p for p in wanted[position:] if next_key is None or p < next_key]
            yield from _frames_in_gop(container, stream, keys, group)
            position += len(group)


def keyframes(packets: Iterable[Packet]) -> list[int]:
    """PTS of the key frames among packets, increasing."""
    return sorted(p.pts for p in packets if p.is_keyframe and p.pts is not None and not p.is_discard)


def _from_start(path: Path, wanted: Sequence[int]) -> Iterator[Frame]:
    if wanted:
        with open_video(path) as (container, stream):
            frames = iter(VideoDecoder(container, stream))
            yield from _on_screen(next(frames), frames, wanted)


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
        yield from _on_screen(held, frames, wanted)
        return


def _on_screen(held: Frame, frames: Iterator[Frame], wanted: Sequence[int]) -> Iterator[Frame]:
    """For each wanted PTS the last frame that is not after it. held: the first frame."""
    ahead = next(frames, None)
    for target in wanted:
        while ahead is not None and ahead.pts <= target:
            held, ahead = ahead, next(frames, None)
        yield held


def _stream_start(stream: VideoStream) -> int:
    return min(stream.start_time or 0, 0)
