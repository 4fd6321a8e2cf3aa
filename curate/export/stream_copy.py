"""Kept spans to clips without encoding: the packets between two keyframes, times moved to 0, in a container that suits
the codec.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import av
from av.packet import Packet
from av.video.stream import VideoStream

from clipmill.curate.errors import DecodeError, one_line
from clipmill.curate.export.encode import EncodedClip, checked, writing
from clipmill.curate.video.reader import open_video
from clipmill.curate.video.timeline import placed

_MP4_CODECS = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4"})
_MP4_OPTIONS = {"movflags": "+faststart+negative_cts_offsets", "use_editlist": "0", "fflags": "+bitexact"}
_MKV_OPTIONS = {"fflags": "+bitexact"}


def copy_suffix(codec: str) -> str:
    """`.mp4` where the codec is at home there, else `.mkv`. `codec`: as in `videos.video_codec`."""
    return ".mp4" if _plain_name(codec) in _MP4_CODECS else ".mkv"


def _plain_name(codec: str) -> str:
    """The codec of a libav decoder's name."""
    return {"libdav1d": "av1", "libaom-av1": "av1", "libvpx-vp9": "vp9"}.get(codec, codec)


def copy_clip(source: Path, video: Mapping[str, Any], clip: Mapping[str, Any], out: Path) -> EncodedClip:
    """Copy [keyframe_start_pts, keyframe_end_pts) of a clip to `out`, whose suffix is
    `copy_suffix(video["video_codec"])`.

    Packets are taken in the file's order from the first keyframe to the first packet at or after the end. So frames
    shown before the keyframe (leading frames of an open GOP) and frames that need a later keyframe never get in; at
    most the frames of one reordering group are missing at the end. Crop, size and rate stay the source's; rotation
    stays a tag.

    Raises DecodeError where the clip has no keyframe span, the source has no presentation times, or the file written
    does not decode to exactly the packets copied; UserError where the disk refuses.
    """
    start_pts, end_pts = clip["keyframe_start_pts"], clip["keyframe_end_pts"]
    if start_pts is None or end_pts is None or end_pts <= start_pts:
        raise DecodeError(
            "no keyframe span in the clip: a stream copy needs a keyframe to start at; export with --no-copy"
        )
    with writing(out) as temporary:
        with ExitStack() as files:
            stream, packets = _from_keyframe(files, source, int(start_pts), not video.get("n_discontinuities"))
            span = _span_packets(packets, int(start_pts), int(end_pts))
            promised = _write(temporary, stream, span, int(start_pts), out.suffix)
        return checked(clip["clip_id"], temporary, out, promised, rate=None)


def _span_packets(packets: Iterable[Packet], start_pts: int, end_pts: int) -> Iterator[Packet]:
    """Packets from the keyframe at `start_pts` to the first one shown at or after `end_pts`, in the order of the
    file.
    """
    started = False
    for packet in packets:
        if packet.pts is None or packet.size == 0:
            continue
        started = started or (packet.is_keyframe and packet.pts == start_pts)
        if packet.pts >= end_pts:
            return
        if started and packet.pts >= start_pts:
            yield packet


def _from_keyframe(
    files: ExitStack, source: Path, start_pts: int, continuous: bool
) -> tuple[VideoStream, Iterable[Packet]]:
    """Packets from a place at or before the keyframe: by seeking where that lands right, else from the start of the
    file, always where the time stamps are not continuous.
    """
    container, stream = files.enter_context(open_video(source))
    try:
        packets: Iterator[Packet] = iter(())
        if continuous:
            container.seek(start_pts, stream=stream, backward=True, any_frame=False)
            packets = container.demux(stream)
        first = next(packets, None)
        if first is not None and first.pts is not None and first.pts <= start_pts:
            return stream, chain([first], packets)
    except (av.error.FFmpegError, OSError):
        pass
    container, stream = files.enter_context(open_video(source))
    return stream, placed(container, stream)


def _write(path: Path, stream: VideoStream, packets: Iterator[Packet], start_pts: int, suffix: str) -> int:
    """Mux the packets with `start_pts` moved to 0; how many there were."""
    kind, options = ("mp4", _MP4_OPTIONS) if suffix == ".mp4" else ("matroska", _MKV_OPTIONS)
    count = 0
    with av.open(str(path), "w", format=kind, options=options) as container:
        try:
            target = container.add_stream_from_template(stream, opaque=True)
        except ValueError as error:
            raise DecodeError(f"{one_line(error)}: export with --no-copy") from error
        for packet in packets:
            packet.pts = (packet.pts or 0) - start_pts
            packet.dts = packet.dts - start_pts if packet.dts is not None else None
            packet.stream = target
            container.mux(packet)
            count += 1
        if not count:
            raise DecodeError(f"no keyframe at pts {start_pts} in the source")
    return count
