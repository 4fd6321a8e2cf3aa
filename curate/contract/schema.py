"""The contract: the columns of every table, their units, and the content-derived ids.

Time is integer PTS with a rational time base; `*_s` columns are float64 conveniences in seconds from the video's first
frame. `end` is exclusive. A null is "not known", never 0 or -1. Pixels are display pixels: after rotation, before the
sample aspect ratio is applied.
"""

import hashlib
from collections.abc import Mapping

import pyarrow as pa

SCHEMA_VERSION = 1

CUT = pa.struct(
    [
        ("pts", pa.int64()),
        ("start_pts", pa.int64()),
        ("end_pts", pa.int64()),
        ("kind", pa.string()),
        ("score", pa.float32()),
        ("detector", pa.string()),
    ]
)
CAPTION = pa.struct(
    [
        ("source", pa.string()),
        ("model", pa.string()),
        ("text", pa.string()),
        ("sample_weight", pa.float32()),
        ("status", pa.string()),
    ]
)


def _schema(columns: Mapping[str, tuple[pa.DataType, str]]) -> pa.Schema:
    fields = [pa.field(name, kind, metadata={"doc": doc}) for name, (kind, doc) in columns.items()]
    return pa.schema(fields, metadata={"schema_version": str(SCHEMA_VERSION)})


VIDEOS = _schema(
    {
        "video_id": (
            pa.string(),
            "first 128 bits of sha256 of the file's bytes, hex; null where the file cannot be read",
        ),
        "uri": (pa.string(), "file URI, percent-encoded, so any file name survives"),
        "relpath": (pa.string(), "path below the input folder, for people"),
        "sha256": (pa.string(), "of the file's bytes"),
        "size_bytes": (pa.int64(), "bytes"),
        "container": (pa.string(), "libav's short name of the container format"),
        "video_codec": (pa.string(), "libav's codec name"),
        "pix_fmt": (pa.string(), "pixel format of the stream"),
        "width": (pa.int32(), "display px, after rotation"),
        "height": (pa.int32(), "display px, after rotation"),
        "sar_num": (pa.int32(), "sample aspect ratio, numerator (after rotation)"),
        "sar_den": (pa.int32(), "sample aspect ratio, denominator"),
        "rotation_deg": (pa.int32(), "clockwise turn that shows the picture upright: 0, 90, 180 or 270"),
        "duration_s": (pa.float64(), "s, first frame shown to the end of the last, of decoded frames"),
        "start_pts": (pa.int64(), "pts of the first decoded frame"),
        "time_base_num": (pa.int32(), "seconds per pts unit, numerator"),
        "time_base_den": (pa.int32(), "seconds per pts unit, denominator"),
        "avg_fps_num": (pa.int32(), "decoded frames per second, numerator"),
        "avg_fps_den": (pa.int32(), "decoded frames per second, denominator"),
        "is_vfr": (pa.bool_(), "a frame lasts over 1.5 times the median frame"),
        "interlaced": (pa.bool_(), "more than half of the decoded frames are flagged interlaced"),
        "keyframe_pts": (pa.list_(pa.int64()), "pts of every keyframe packet"),
        "gop_max_s": (pa.float32(), "s, the longest distance between keyframes"),
        "n_frames_decoded": (pa.int64(), "frames, counted, not declared"),
        "n_decode_errors": (pa.int64(), "packets that could not be decoded"),
        "has_audio": (pa.bool_(), "an audio stream is present"),
        "crop_x": (pa.int32(), "px, left edge of the picture inside its black borders, over the whole video"),
        "crop_y": (pa.int32(), "px, top edge"),
        "crop_w": (pa.int32(), "px"),
        "crop_h": (pa.int32(), "px"),
        "cuts": (
            pa.list_(CUT),
            "shot boundaries: pts = first frame of the new shot, or the middle of a gradual transition",
        ),
        "caption": (pa.string(), "sidecar text"),
        "title": (pa.string(), "sidecar text"),
        "tags": (pa.list_(pa.string()), "sidecar text"),
        "license": (pa.string(), "sidecar text"),
        "source_url": (pa.string(), "sidecar text"),
        "status": (
            pa.string(),
            "ok | partial (decoded up to an error) | error | duplicate (same bytes as another file)",
        ),
        "duplicate_of": (pa.string(), "relpath of the file with the same bytes that was processed"),
        "error_stage": (pa.string(), "read | probe | decode | scenes | crashed | timeout"),
        "error_message": (pa.string(), "one line"),
    }
)

CLIPS = _schema(
    {
        "clip_id": (pa.string(), "first 128 bits of sha256 of video_id, start_pts, end_pts, hex"),
        "video_id": (pa.string(), "the source video"),
        "clip_index": (pa.int32(), "position in the video, from 0"),
        "start_pts": (pa.int64(), "pts of the first frame"),
        "end_pts": (pa.int64(), "pts at which the clip ends, exclusive"),
        "time_base_num": (pa.int32(), "seconds per pts unit, numerator"),
        "time_base_den": (pa.int32(), "seconds per pts unit, denominator"),
        "start_s": (pa.float64(), "s from the video's first frame"),
        "end_s": (pa.float64(), "s from the video's first frame, exclusive"),
        "duration_s": (pa.float64(), "s"),
        "n_frames": (pa.int64(), "decoded frames in the span"),
        "fps": (pa.float32(), "frames per second over the clip"),
        "keyframe_start_pts": (
            pa.int64(),
            "pts of the first keyframe in the clip: a stream copy starts here; null where there is none",
        ),
        "keyframe_end_pts": (pa.int64(), "pts at which a stream copy ends, exclusive; null where there is no keyframe"),
        "crop_x": (pa.int32(), "px, the picture inside its black borders"),
        "crop_y": (pa.int32(), "px"),
        "crop_w": (pa.int32(), "px"),
        "crop_h": (pa.int32(), "px"),
        "width": (pa.int32(), "display px of the crop box"),
        "height": (pa.int32(), "display px of the crop box"),
        "cut_residual": (pa.float32(), "0 to 1, the highest cut score left inside the clip: a missed cut shows here"),
    }
)

FRAMES = _schema(
    {
        "clip_id": (pa.string(), "the clip"),
        "role": (pa.string(), "first | middle | last"),
        "pts": (pa.int64(), "of the frame"),
        "width": (pa.int32(), "px of the JPEG"),
        "height": (pa.int32(), "px of the JPEG"),
        "jpeg": (pa.binary(), "display orientation, square pixels, full frame (crop box not applied)"),
    }
)

DECISIONS = _schema(
    {
        "clip_id": (pa.string(), "the clip"),
        "keep": (pa.bool_(), "null where a score that the policy needs is missing (see outcome)"),
        "outcome": (pa.string(), "kept | dropped | error | not_run"),
        "failed_filters": (pa.list_(pa.string()), "every filter that fails, in the policy's order"),
        "margins": (
            pa.map_(pa.string(), pa.float64()),
            "filter -> distance to its threshold in the column's unit; negative = fails",
        ),
    }
)

SHARDS = _schema(
    {
        "shard": (pa.string(), "file name below shards/"),
        "uri": (pa.string(), "path relative to the run directory"),
        "sha256": (pa.string(), "of the tar"),
        "size_bytes": (pa.int64(), "bytes"),
        "n_clips": (pa.int32(), "clips"),
        "total_duration_s": (pa.float64(), "s"),
        "width": (pa.int32(), "px; null where clips differ"),
        "height": (pa.int32(), "px; null where clips differ"),
        "fps": (pa.float32(), "frames per second; null where clips differ"),
        "total_frames": (pa.int64(), "frames"),
        "codec": (pa.string(), "video codec of the clips"),
        "policy_id": (pa.string(), "sha256 of the frozen policy"),
        "split": (pa.string(), "train | val | test"),
        "clip_ids_sha256": (pa.string(), "of the sorted clip ids, newline-joined"),
    }
)

STATUSES = ("ok", "error", "not_run")
ANNOTATION_KEYS = {"clip_id": pa.string(), "status": pa.string(), "error": pa.string()}


def annotation_schema(columns: Mapping[str, pa.DataType]) -> pa.Schema:
    """Schema of an annotator's table: clip_id, its columns, status (ok | error | not_run), error (one line or null)."""
    return pa.schema([("clip_id", pa.string()), *columns.items(), ("status", pa.string()), ("error", pa.string())])


def video_id(sha256_hex: str) -> str:
    """128-bit id of a video from the sha256 of its bytes."""
    return sha256_hex[:32]


def clip_id(video: str, start_pts: int, end_pts: int) -> str:
    """128-bit id of a span, the same on every machine, engine and worker count."""
    return hashlib.sha256(f"{video}:{start_pts}:{end_pts}".encode()).hexdigest()[:32]


INDEX = pa.schema(
    [
        ("clip_id", pa.string()),
        ("split", pa.string()),
        ("shard", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("sha256", pa.string()),
        ("export_n_frames", pa.int64()),
        ("export_fps_num", pa.int32()),
        ("export_fps_den", pa.int32()),
        ("export_width", pa.int32()),
        ("export_height", pa.int32()),
        ("export_codec", pa.string()),
    ]
)
