"""Videos whose every frame carries its index as a bar code, and the rows that a run would make of them."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from clipmill.curate.contract.schema import clip_id
from clipmill.curate.video.reader import VideoDecoder, open_video

BITS = 10


def painted(index: int, width: int, height: int) -> np.ndarray:
    """uint8 [H, W, 3]: ten vertical bars, white where the bit of `index` is set."""
    bars = [(index >> b) & 1 for b in range(BITS)]
    row = np.repeat(bars, -(-width // BITS))[:width] * 200 + 28
    return np.broadcast_to(row[None, :, None], (height, width, 3)).astype(np.uint8)


def read(picture: np.ndarray) -> int:
    """The index painted in a luma or RGB picture of any size."""
    luma = picture if picture.ndim == 2 else picture.mean(-1)
    edges = [int((b + 0.5) * luma.shape[1] / BITS) for b in range(BITS)]
    middle = luma[luma.shape[0] // 4 : -luma.shape[0] // 4]
    return sum(1 << b for b, x in enumerate(edges) if middle[:, x].mean() > 128)


def write_video(
    path: Path, pts: list[int], time_base: Fraction, codec: str = "libx264", size=(320, 180), gop: int = 12, **options
) -> Path:
    """One frame per entry of `pts` (in `time_base`), frame i painted with i."""
    with av.open(str(path), "w") as container:
        rate = round(1 / (float(time_base) * (pts[1] - pts[0]))) if len(pts) > 1 else 25
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base, stream.codec_context.gop_size = time_base, gop
        for index, when in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(painted(index, *size), format="rgb24")
            frame.pts, frame.time_base = when, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def video_row(path: Path, video: str = "v" * 32) -> tuple[dict, list[int]]:
    """The columns of VIDEOS that export reads, from one sequential decode, and the PTS of all frames."""
    with open_video(path) as (container, stream):
        decoder = VideoDecoder(container, stream)
        frames = [(f.pts, f.duration_pts) for f in decoder]
        info, log = decoder.info, decoder.log
    row = {
        "video_id": video,
        "width": info.width,
        "height": info.height,
        "sar_num": info.sar.numerator,
        "sar_den": info.sar.denominator,
        "rotation_deg": info.rotation_deg,
        "mirrored": info.mirrored,
        "time_base_num": info.time_base.numerator,
        "time_base_den": info.time_base.denominator,
        "interlaced": log.n_interlaced * 2 > log.n_frames,
        "keyframe_pts": sorted(log.keyframe_pts),
        "container": info.container,
        "video_codec": info.video_codec,
        "end_pts": frames[-1][0] + (frames[-1][1] or 1),
    }
    return row, [pts for pts, _ in frames]


def clip_row(video: dict, pts: list[int], first: int, stop: int, **columns: object) -> dict:
    """A CLIPS row for frames [first, stop) of a video."""
    start, end = pts[first], pts[stop] if stop < len(pts) else video["end_pts"]
    seconds = (end - start) * video["time_base_num"] / video["time_base_den"]
    keys = [k for k in video["keyframe_pts"] if start <= k <= end]
    return {
        "clip_id": clip_id(video["video_id"], start, end),
        "video_id": video["video_id"],
        "start_pts": start,
        "end_pts": end,
        "time_base_num": video["time_base_num"],
        "time_base_den": video["time_base_den"],
        "duration_s": seconds,
        "n_frames": min(stop, len(pts)) - first,
        "fps": (min(stop, len(pts)) - first) / seconds,
        "keyframe_start_pts": keys[0] if len(keys) > 1 else None,
        "keyframe_end_pts": keys[-1] if len(keys) > 1 else None,
        **columns,
    }


def indices(path: Path) -> list[int]:
    """The painted indices of all frames of a clip, as decoded."""
    with open_video(path) as (container, stream):
        return [read(f.to_ndarray(format="gray")) for f in container.decode(stream)]


def decoded(path: Path) -> list[av.VideoFrame]:
    """All frames of a video."""
    with open_video(path) as (container, stream):
        return list(container.decode(stream))


def boxes(data: bytes) -> list[bytes]:
    """Types of the MP4 boxes down to the sample tables, in order."""
    inside, found, at = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts"}, [], 0
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        found.append(kind)
        if kind in inside:
            found += boxes(data[at + 8 : at + size])
        at += max(size, 8)
    return found
