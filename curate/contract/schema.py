"""The contract: the columns of every table, their units, and the content-derived ids.

Time is integer PTS with a rational time base; `*_s` columns are float64 conveniences in seconds from the video's first
frame. `end` is exclusive. A null is "not known", never 0 or -1. Pixels are display pixels: after rotation, before the
sample aspect ratio is applied.
"""

import hashlib
from collections.abc import Mapping

import pyarrow as pa

from clipmill.curate.contract.column import Column, types

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


def _schema(columns: Mapping[str, Column]) -> pa.Schema:
    fields = [pa.field(name, column.type, metadata={"doc": column.doc}) for name, column in columns.items()]
    return pa.schema(fields, metadata={"schema_version": str(SCHEMA_VERSION)})


VIDEO_COLUMNS: dict[str, Column] = {
    "video_id": Column(
        pa.string(),
        "first 128 bits of sha256 of the file's bytes, hex; null where the file cannot be read",
    ),
    "uri": Column(pa.string(), "file URI, percent-encoded, so any file name survives"),
    "relpath": Column(pa.string(), "path below the input folder, for people"),
    "sha256": Column(pa.string(), "of the file's bytes"),
    "size_bytes": Column(pa.int64(), "bytes"),
    "container": Column(pa.string(), "libav's short name of the container format"),
    "video_codec": Column(pa.string(), "libav's codec name"),
    "pix_fmt": Column(pa.string(), "pixel format of the stream"),
    "width": Column(pa.int32(), "display px, after rotation"),
    "height": Column(pa.int32(), "display px, after rotation"),
    "sar_num": Column(pa.int32(), "sample aspect ratio, numerator (after rotation)"),
    "sar_den": Column(pa.int32(), "sample aspect ratio, denominator"),
    "rotation_deg": Column(pa.int32(), "clockwise turn that shows the picture upright: 0, 90, 180 or 270"),
    "mirrored": Column(
        pa.bool_(),
        "after that turn, left and right are exchanged to show the picture upright; null in rows made before",
    ),
    "duration_s": Column(pa.float64(), "s, first frame shown to the end of the last, of decoded frames"),
    "start_pts": Column(pa.int64(), "pts of the first decoded frame"),
    "time_base_num": Column(pa.int32(), "seconds per pts unit, numerator"),
    "time_base_den": Column(pa.int32(), "seconds per pts unit, denominator"),
    "avg_fps_num": Column(pa.int32(), "decoded frames per second, numerator"),
    "avg_fps_den": Column(pa.int32(), "decoded frames per second, denominator"),
    "is_vfr": Column(pa.bool_(), "a frame lasts over 1.5 times the median frame"),
    "interlaced": Column(pa.bool_(), "more than half of the decoded frames are flagged interlaced"),
    "keyframe_pts": Column(pa.list_(pa.int64()), "pts of every keyframe packet"),
    "gop_max_s": Column(pa.float32(), "s, the longest distance between keyframes"),
    "n_frames_decoded": Column(pa.int64(), "frames, counted, not declared"),
    "n_decode_errors": Column(pa.int64(), "packets that could not be decoded"),
    "n_corrupt_frames": Column(
        pa.int64(),
        "frames that the decoder marks as corrupt or complains of, or whose packet the container marks: parts were"
        " lost and are made up; null where that cannot be known (none found, and VP8 or VP9, whose decoders check"
        " nothing; another decoder than PyAV) and in rows made before",
    ),
    "n_discontinuities": Column(
        pa.int64(),
        "places where the file's time stamps start anew or leap (recordings joined byte by byte): all pts here go on by"
        " a running offset; null in rows made before",
    ),
    "has_audio": Column(pa.bool_(), "an audio stream is present"),
    "crop_x": Column(pa.int32(), "px, left edge of the picture inside its black borders, over the whole video"),
    "crop_y": Column(pa.int32(), "px, top edge"),
    "crop_w": Column(pa.int32(), "px"),
    "crop_h": Column(pa.int32(), "px"),
    "cuts": Column(
        pa.list_(CUT),
        "shot boundaries: pts = first frame of the new shot, or the middle of a gradual transition",
    ),
    "caption": Column(pa.string(), "sidecar text"),
    "title": Column(pa.string(), "sidecar text"),
    "tags": Column(pa.list_(pa.string()), "sidecar text"),
    "license": Column(pa.string(), "sidecar text"),
    "source_url": Column(pa.string(), "sidecar text"),
    "status": Column(
        pa.string(),
        "ok | partial (decoded up to an error) | error | duplicate (same bytes as another file)",
    ),
    "duplicate_of": Column(pa.string(), "relpath of the file with the same bytes that was processed"),
    "error_stage": Column(pa.string(), "read | probe | decode | crashed | timeout | internal (a fault of the program)"),
    "error_message": Column(pa.string(), "one line"),
}
VIDEOS = _schema(VIDEO_COLUMNS)

CLIP_COLUMNS: dict[str, Column] = {
    "clip_id": Column(pa.string(), "first 128 bits of sha256 of video_id, start_pts, end_pts, hex"),
    "video_id": Column(pa.string(), "the source video"),
    "clip_index": Column(pa.int32(), "position in the video, from 0"),
    "start_pts": Column(pa.int64(), "pts of the first frame"),
    "end_pts": Column(pa.int64(), "pts at which the clip ends, exclusive"),
    "time_base_num": Column(pa.int32(), "seconds per pts unit, numerator"),
    "time_base_den": Column(pa.int32(), "seconds per pts unit, denominator"),
    "start_s": Column(pa.float64(), "s from the video's first frame"),
    "end_s": Column(pa.float64(), "s from the video's first frame, exclusive"),
    "duration_s": Column(pa.float64(), "s"),
    "n_frames": Column(pa.int64(), "decoded frames in the span"),
    "fps": Column(pa.float32(), "frames per second over the clip"),
    "keyframe_start_pts": Column(
        pa.int64(),
        "pts of the first keyframe in the clip: a stream copy starts here; null where there is none",
    ),
    "keyframe_end_pts": Column(
        pa.int64(), "pts at which a stream copy ends, exclusive; null where there is no keyframe"
    ),
    "crop_x": Column(pa.int32(), "px, the picture inside its black borders"),
    "crop_y": Column(pa.int32(), "px"),
    "crop_w": Column(pa.int32(), "px"),
    "crop_h": Column(pa.int32(), "px"),
    "width": Column(pa.int32(), "display px of the crop box"),
    "height": Column(pa.int32(), "display px of the crop box"),
    "cut_residual": Column(pa.float32(), "0 to 1, the highest cut score left inside the clip: a missed cut shows here"),
    "n_corrupt_frames": Column(pa.int64(), "frames marked as corrupt, null as in `videos`"),
    "n_frames_after_corrupt": Column(
        pa.int64(),
        "further frames that may show what is left of a corrupt frame, or of a packet that could not be decoded: those"
        " from it on to the next key frame, in this clip or before it; null with another decoder than PyAV, and in rows"
        " made before",
    ),
}
CLIPS = _schema(CLIP_COLUMNS)

FRAME_COLUMNS: dict[str, Column] = {
    "clip_id": Column(pa.string(), "the clip"),
    "role": Column(pa.string(), "first | middle | last"),
    "pts": Column(pa.int64(), "of the frame"),
    "width": Column(pa.int32(), "px of the JPEG"),
    "height": Column(pa.int32(), "px of the JPEG"),
    "jpeg": Column(pa.binary(), "display orientation, square pixels, full frame (crop box not applied)"),
}
FRAMES = _schema(FRAME_COLUMNS)

DECIDED_COLUMNS: dict[str, Column] = {
    "clip_id": Column(pa.string(), "the clip"),
    "keep": Column(pa.bool_(), "true where outcome is kept, else false"),
    "outcome": Column(pa.string(), "kept | dropped | error | not_run"),
    "failed_filters": Column(pa.list_(pa.string()), "every filter that fails, in the policy's order"),
    "margins": Column(
        pa.map_(pa.string(), pa.float64()),
        "filter -> distance to its threshold in the column's unit; negative = fails",
    ),
}
DECISIONS = _schema(DECIDED_COLUMNS)

# What the join adds to the manifest from comparing clips with each other, and with their videos.
JOINED_COLUMNS: dict[str, Column] = {
    "caption_of": Column(
        pa.string(),
        "what `caption`, the text beside the video, describes: clip (this is nine tenths of the video, or more) | video"
        " (of which this clip is a part, and others share the text); null without such text",
    ),
    "dup_group_id": Column(
        pa.string(), "smallest clip id of the group of near duplicates; null where the clip has none"
    ),
    "dup_rank": Column(
        pa.int32(),
        "0 = the one to keep of its group, or alone; then larger before smaller, longer before shorter, sharper"
        " before softer",
    ),
    "dup_of": Column(
        pa.string(), "clip id of the group's rank 0; null for that one and where the clip has no duplicate"
    ),
    "semantic_group_id": Column(
        pa.string(), "smallest clip id of the group of clips alike by CLIP's embeddings; null where the clip has none"
    ),
    "semantic_rank": Column(
        pa.int32(),
        "0 = the one to keep of its group, or alone (dedup.semantic_keep says by what); null without embeddings",
    ),
    "semantic_of": Column(
        pa.string(), "clip id of the semantic group's rank 0; null for that one and where there is no group"
    ),
    "split": Column(pa.string(), "train | val | test, by source video; duplicates are never across splits"),
}

SHARD_COLUMNS: dict[str, Column] = {
    "shard": Column(pa.string(), "file name below shards/"),
    "uri": Column(pa.string(), "path relative to the run directory"),
    "sha256": Column(pa.string(), "of the tar"),
    "size_bytes": Column(pa.int64(), "bytes"),
    "n_clips": Column(pa.int32(), "clips"),
    "total_duration_s": Column(pa.float64(), "s"),
    "width": Column(pa.int32(), "px; null where clips differ"),
    "height": Column(pa.int32(), "px; null where clips differ"),
    "fps": Column(pa.float32(), "frames per second; null where clips differ"),
    "total_frames": Column(pa.int64(), "frames"),
    "codec": Column(pa.string(), "video codec of the clips"),
    "policy_id": Column(pa.string(), "sha256 of the frozen policy"),
    "split": Column(pa.string(), "train | val | test"),
    "clip_ids_sha256": Column(pa.string(), "of the sorted clip ids, newline-joined"),
}
SHARDS = _schema(SHARD_COLUMNS)

STATUSES = ("ok", "error", "not_run")
ANNOTATION_KEYS = {"clip_id": pa.string(), "status": pa.string(), "error": pa.string()}


def annotation_schema(columns: Mapping[str, Column]) -> pa.Schema:
    """Schema of an annotator's table: clip_id, its columns, status (ok | error | not_run), error (one line or null)."""
    return pa.schema([("clip_id", pa.string()), *types(columns), ("status", pa.string()), ("error", pa.string())])


def video_id(sha256_hex: str) -> str:
    """128-bit id of a video from the sha256 of its bytes."""
    return sha256_hex[:32]


def clip_id(video: str, start_pts: int, end_pts: int) -> str:
    """128-bit id of a span, the same on every machine, engine and worker count."""
    return hashlib.sha256(f"{video}:{start_pts}:{end_pts}".encode()).hexdigest()[:32]


INDEX_COLUMNS: dict[str, Column] = {
    "clip_id": Column(pa.string(), "the clip"),
    "split": Column(pa.string(), "train | val | test"),
    "shard": Column(pa.string(), "file name of the tar that holds the clip"),
    "offset": Column(pa.int64(), "bytes from the tar's start to the clip's video"),
    "size": Column(pa.int64(), "bytes of the clip's video"),
    "sha256": Column(pa.string(), "of those bytes"),
    "export_n_frames": Column(pa.int64(), "frames in the exported clip"),
    "export_fps_num": Column(pa.int32(), "frames per second of the exported clip, numerator"),
    "export_fps_den": Column(pa.int32(), "frames per second of the exported clip, denominator"),
    "export_width": Column(pa.int32(), "px of the exported clip"),
    "export_height": Column(pa.int32(), "px of the exported clip"),
    "export_codec": Column(pa.string(), "video codec of the exported clip"),
}
INDEX = pa.schema(types(INDEX_COLUMNS))
