"""Which stream of a container is the video, and what the container says of its length."""

import re
from fractions import Fraction

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from clipmill.curate.errors import DecodeError

_PICTURE_CODECS = frozenset({"png", "mjpeg", "bmp", "webp", "gif", "tiff", "jpeg2000", "ppm"})
_NO_MOVIE = int(av.stream.Disposition.attached_pic) | int(av.stream.Disposition.timed_thumbnails)


def moving_stream(container: InputContainer) -> VideoStream:
    """The first video stream that is neither a cover picture nor, beside a moving one, a still. Raises DecodeError, in
    one line, where there is none, or no decoder for it.
    """
    streams = [s for s in container.streams.video if not int(s.disposition) & _NO_MOVIE]
    if not streams:
        raise DecodeError(_no_video(container))
    stream = next((s for s in streams if not _is_still(s)), streams[0])
    if stream is not streams[0] and not _n_frames(streams[0]) and not _codec(stream):
        stream = streams[0]  # a guess by its codec, and the other one has no decoder
    if stream.codec_context is None:
        raise DecodeError("no decoder for the video codec")
    return stream


def _no_video(container: InputContainer) -> str:
    kinds = sorted({s.type for s in container.streams})
    if "video" in kinds:
        return "only a cover picture beside audio" if "audio" in kinds else "only a cover picture, no video stream"
    return f"no video stream (streams: {', '.join(kinds) or 'none'})"


def _codec(stream: VideoStream) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context is not None else ""


def _is_still(stream: VideoStream) -> bool:
    """One picture, by the container's count; where it counts nothing, by a codec for pictures."""
    count = _n_frames(stream)
    return count == 1 if count else _codec(stream) in _PICTURE_CODECS


def _n_frames(stream: VideoStream) -> int:
    """Frames that the container declares, 0 where it does not."""
    declared = stream.frames or next((v for k, v in stream.metadata.items() if k.startswith("NUMBER_OF_FRAMES")), 0)
    return int(declared) if str(declared).isdigit() else 0


def declared_end_s(container: InputContainer, stream: VideoStream) -> float | None:
    """Where the container says that the video ends, in seconds of the stream's own time line; None where it says it of
    all streams together, or not at all.

    The stream's own length where there is one (MP4, or a Matroska tag), else the container's where nothing but the
    video could be meant.
    """
    start_s = float((stream.start_time or 0) * (stream.time_base or 0))
    if stream.duration and stream.time_base:
        return start_s + float(stream.duration * stream.time_base)
    tags = (v for k, v in stream.metadata.items() if k == "DURATION" or k.startswith("DURATION-"))
    if (tagged := _clock_s(next(tags, ""))) is not None:
        return tagged  # of Matroska: when the last frame ends, not how long
    if container.duration is None or len(container.streams) > 1:
        return None
    from_s = (container.start_time or 0) / av.time_base
    return from_s + float(Fraction(container.duration, av.time_base))


def _clock_s(text: str) -> float | None:
    """Seconds of `00:00:05.040000000`."""
    found = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", text.strip())
    return None if found is None else int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
