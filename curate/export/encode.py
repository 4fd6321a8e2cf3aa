"""Kept spans to clips: H.264, yuv420p, constant frame rate, keyframe every second at most, no B-frames, no edit list,
BT.709, no audio.

The same input gives the same bytes, with the same libraries on the same kind of processor: one thread, exact scaling,
no dates and no muxer version in the file, and an encoder that reads nothing beside the picture.
"""

import errno
import hashlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from clipmill.curate.common.files import beside
from clipmill.curate.errors import DecodeError, UserError, full_disk, is_full_disk, one_line
from clipmill.curate.export.filter_graph import ClipFilter, Geometry, geometry
from clipmill.curate.settings.export import ExportConfig
from clipmill.curate.video.frame_clock import FrameClock, promised_frames, rational_rate
from clipmill.curate.video.reader import Frame, open_video
from clipmill.curate.video.span_reader import SpanReader
from clipmill.curate.video.x264 import steady_x264

_BT709 = 1  # of AVCOL_SPC, AVCOL_TRC and AVCOL_PRI alike
_LIMITED = 1  # AVCOL_RANGE_MPEG
_MP4_OPTIONS = {"movflags": "+faststart", "use_editlist": "0", "fflags": "+bitexact"}
_DISK_ERRORS = (errno.EROFS, errno.EACCES, errno.EFBIG, errno.ENOENT, errno.ENOTDIR)


@dataclass(frozen=True)
class EncodedClip:
    """A written and verified clip. n_frames: decoded back, not promised. width, height: px as shown. sha256: of the
    file, hex.
    """

    clip_id: str
    path: Path
    n_frames: int
    fps_num: int
    fps_den: int
    width: int
    height: int
    size_bytes: int
    sha256: str
    codec: str


@dataclass(frozen=True)
class ClipError:
    """A clip that could not be written, and why, in one line."""

    clip_id: str
    message: str


@dataclass(frozen=True)
class Measured:
    """What decoding a file gives. even: frames start at 0 and last equally long. width, height: px as shown, after
    rotation.
    """

    n_frames: int
    duration_s: Fraction
    even: bool
    width: int
    height: int
    codec: str


def encode_clip(
    source: Path, video: Mapping[str, Any], clip: Mapping[str, Any], config: ExportConfig, out: Path
) -> EncodedClip:
    """Write one clip to `out` (.mp4). `video` and `clip` are rows of VIDEOS and CLIPS.

    Output frame k shows the source frame on screen at start + k / fps (see `clipmill.curate.video.frame_clock`); no
    frame outside [start_pts, end_pts) is used. Raises DecodeError where the source does not give the clip's frames, or
    the written file does not decode to the promised ones; UserError where the disk refuses.
    """
    with SpanReader(source, video["keyframe_pts"], not video.get("n_discontinuities")) as reader:
        return _VideoPass(reader, video, config).encode(clip, out)


def encode_clips(
    source: Path, video: Mapping[str, Any], clips: Iterable[Mapping[str, Any]], config: ExportConfig, folder: Path
) -> Iterator[EncodedClip | ClipError]:
    """Write clips of one video to `folder/<clip_id>.mp4` in one forward pass, in order of time.

    A clip that fails is a ClipError and the pass goes on. Raises UserError where the disk refuses.
    """
    ordered = sorted(clips, key=lambda clip: (clip["start_pts"], clip["end_pts"]))
    with SpanReader(source, video["keyframe_pts"], not video.get("n_discontinuities")) as reader:
        one_pass = _VideoPass(reader, video, config)
        for clip in ordered:
            try:
                yield one_pass.encode(clip, folder / f"{clip['clip_id']}.mp4")
            except DecodeError as error:
                yield ClipError(clip["clip_id"], one_line(error))


class _VideoPass:
    """Clips of one video, one after another, over one reader. Clips of one size share their filter graph."""

    def __init__(self, reader: SpanReader, video: Mapping[str, Any], config: ExportConfig) -> None:
        self._reader, self._video, self._config = reader, video, config
        self._filters: dict[Geometry, ClipFilter] = {}

    def encode(self, clip: Mapping[str, Any], out: Path) -> EncodedClip:
        """Seek and encode; where the frames met are not those counted when the span was made, once more from the first
        packet.
        """
        with writing(out) as temporary:
            problem = self._attempt(clip, temporary, from_start=False)
            if problem and not self._reader.sequential:
                problem = self._attempt(clip, temporary, from_start=True)
            if problem:
                raise DecodeError(problem)
            rate = clip_rate(clip, self._config)
            promised = promised_frames(clip["start_pts"], clip["end_pts"], _time_base(clip), rate)
            return checked(clip["clip_id"], temporary, out, promised, rate)

    def _attempt(self, clip: Mapping[str, Any], path: Path, from_start: bool) -> str | None:
        """Write the clip; the reason why it is not the promised one, None where it is."""
        plan, rate = geometry(self._video, clip, self._config), clip_rate(clip, self._config)
        clock = FrameClock(clip["start_pts"], clip["end_pts"], _time_base(clip), rate)
        tally = _Tally(self._reader.frames(clip["start_pts"], clip["end_pts"], from_start))
        chain = self._filters.pop(plan, None) or ClipFilter(plan, bool(self._video["interlaced"]))
        with closing(_pictures(tally, clock, chain)) as pictures:
            _write_mp4(path, pictures, rate, plan, self._config)
        self._filters[plan] = chain  # only now: after an error its frames are not known
        if (tally.count, tally.first_pts) == (clip["n_frames"], clip["start_pts"]):
            return None
        reason = self._reader.problem()
        found = f"the source gives {tally.count} of {clip['n_frames']} frames from pts {tally.first_pts}"
        return f"{found}: {reason}" if reason else found


def _time_base(row: Mapping[str, Any]) -> Fraction:
    return Fraction(int(row["time_base_num"]), int(row["time_base_den"]))


def clip_rate(clip: Mapping[str, Any], config: ExportConfig) -> Fraction:
    """Frames per second the clip is written at."""
    return rational_rate(float(config.fps or clip["fps"]))


class _Tally:
    """Passes frames on and remembers how many there were and where they began."""

    def __init__(self, frames: Iterator[Frame]) -> None:
        self._frames = frames
        self.count, self.first_pts = 0, None  # type: int, int | None

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._frames:
            if self.first_pts is None:
                self.first_pts = frame.pts
            self.count += 1
            yield frame


def _pictures(
    frames: Iterable[Frame], clock: FrameClock, chain: ClipFilter
) -> Generator[tuple[VideoFrame, int], None, None]:
    """(picture, times shown), in order. Frames that are never shown are not filtered, but deinterlacing needs its
    neighbours.
    """
    for frame, next_pts in _with_next_pts(frames):
        times = clock.repeats(frame.pts, next_pts)
        if times or chain.deinterlace:
            yield from chain.push(frame.native, times)
    yield from chain.end()


def _with_next_pts(frames: Iterable[Frame]) -> Iterator[tuple[Frame, int | None]]:
    held: Frame | None = None
    for frame in frames:
        if held is not None:
            yield held, frame.pts
        held = frame
    if held is not None:
        yield held, None


def _write_mp4(
    path: Path, pictures: Iterator[tuple[VideoFrame, int]], rate: Fraction, plan: Geometry, config: ExportConfig
) -> None:
    with av.open(str(path), "w", format="mp4", options=_MP4_OPTIONS) as container:
        stream = _add_stream(container, rate, plan, config)
        index = 0
        for picture, times in pictures:
            for _ in range(times):
                picture.pts, picture.time_base, picture.duration = index, 1 / rate, 1
                container.mux(stream.encode(picture))
                index += 1
        container.mux(stream.encode(None))


def _add_stream(container: OutputContainer, rate: Fraction, plan: Geometry, config: ExportConfig) -> VideoStream:
    keyframe_every = max(1, int(rate))
    options = {
        "preset": config.preset,
        "crf": str(config.crf),
        "g": str(keyframe_every),
        "bf": "0",
        "sc_threshold": "0",
        "a53cc": "0",
    } | steady_x264()
    stream = container.add_stream("libx264", rate=rate, options=options)
    stream.width, stream.height, stream.pix_fmt = *plan.out, "yuv420p"
    codec = stream.codec_context
    codec.time_base, codec.thread_count, codec.thread_type = 1 / rate, 1, "NONE"
    codec.sample_aspect_ratio = Fraction(1)
    codec.color_range, codec.colorspace, codec.color_primaries, codec.color_trc = _LIMITED, _BT709, _BT709, _BT709
    return stream


@contextmanager
def writing(out: Path) -> Iterator[Path]:
    """`beside`, where an error of the disk is the user's to mend (UserError) and one of libav is the clip's
    (DecodeError).
    """
    try:
        with beside(out) as temporary:
            yield temporary
    except (OSError, av.error.FFmpegError) as error:
        if is_full_disk(error):
            raise full_disk(out.parent) from error
        if error.errno in _DISK_ERRORS:
            raise UserError(f"cannot write {out}: {one_line(error)}") from error
        raise DecodeError(one_line(error)) from error


def verify_clip(path: Path) -> Measured:
    """Decode a clip file to its end. Raises DecodeError where any packet fails, or nothing is there."""
    times: list[int] = []
    durations: list[int] = []
    last: VideoFrame | None = None
    with open_video(path) as (container, stream):
        try:
            for last in container.decode(stream):
                times.append(last.pts if last.pts is not None else -1)
                durations.append(last.duration or 0)
        except av.error.FFmpegError as error:
            raise DecodeError(f"the written clip does not decode: {one_line(error)}") from error
        if last is None or stream.time_base is None:
            raise DecodeError("the written clip has no frames")
        size = (last.width, last.height) if last.rotation % 180 == 0 else (last.height, last.width)
        if any(late <= early for early, late in pairwise(times)):
            raise DecodeError(
                "the frames of the written clip are out of order: the source's presentation times are missing or wrong"
            )
        gap = times[1] - times[0] if len(times) > 1 else durations[-1]
        even = times == [i * gap for i in range(len(times))]
        duration_s = (times[-1] - times[0] + (durations[-1] or gap)) * stream.time_base
        return Measured(len(times), duration_s, even, *size, stream.codec_context.codec.canonical_name)


def checked(clip_id: str, written: Path, out: Path, promised: int, rate: Fraction | None) -> EncodedClip:
    """Check a written file, which will be called `out`, by decoding it. `rate`: the constant rate promised, None for a
    copy.

    Raises DecodeError where it holds other than the promised frames at the promised times.
    """
    measured = verify_clip(written)
    if measured.n_frames != promised:
        raise DecodeError(f"the written clip decodes to {measured.n_frames} frames, {promised} were promised")
    if rate is not None and not (measured.even and measured.duration_s == promised / rate):
        raise DecodeError(f"the written clip does not run at the promised {float(rate):g} frames per second")
    if rate is None and not measured.duration_s:
        raise DecodeError("a single frame without a duration has no frame rate")
    with written.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    rate = rate or (promised / measured.duration_s).limit_denominator(100000)
    return EncodedClip(
        clip_id,
        out,
        promised,
        rate.numerator,
        rate.denominator,
        measured.width,
        measured.height,
        written.stat().st_size,
        digest,
        measured.codec,
    )
