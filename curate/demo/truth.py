"""The truth table: what was rendered, one row per shot and one per transition."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from clipmill.curate.demo.plan import VideoPlan
from clipmill.curate.demo.shot import Shot
from clipmill.curate.demo.timeline import Span, Timeline

TOLERANCE_FRAMES = 2
FILE = "truth.parquet"

_COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "file": (pa.string(), "path below the demo folder, with /"),
    "row": (pa.string(), "shot | transition"),
    "shot_index": (pa.int32(), "position of the shot in its file, from 0; of a transition: the shot it leads into"),
    "start_frame": (
        pa.int32(),
        "shot: its first clean frame; hard cut: first frame of the new shot; gradual: first mixed frame",
    ),
    "end_frame": (pa.int32(), "exclusive; equals start_frame for a hard cut"),
    "start_s": (pa.float64(), "s from the video's first frame, of start_frame"),
    "end_s": (pa.float64(), "s, exclusive"),
    "transition": (pa.string(), "into the shot: hard | dissolve | fade (through black); null for a video's first shot"),
    "accept_start_s": (pa.float64(), "transition: a boundary found from here (2 frames before it) ..."),
    "accept_end_s": (pa.float64(), "... to here, inclusive (2 frames after it) is right; null for shots"),
    "defects": (
        pa.list_(pa.string()),
        "planted: static, text, letterbox, blur, blockiness, flicker, near_black, duplicate; empty = clean",
    ),
    "duplicate_of": (pa.string(), "file#shot_index of the shot that this one repeats; null otherwise"),
    "motion_law": (pa.string(), "linear | bounce | rotate | zoom | pan | static"),
    "law_speed": (
        pa.float64(),
        "short sides/s: of the camera (pan), of each sprite (linear, bounce); null for other laws",
    ),
    "law_rate": (pa.float64(), "1/s: radians (rotate), natural log of scale (zoom); null for other laws"),
    "mean_speed": (
        pa.float64(),
        "short sides/s: apparent speed, mean over picture and clean span, without overlays; from geometry",
    ),
    "sprite_share": (pa.float64(), "share of the picture covered by sprites, mean over the clean span"),
    "text_area": (pa.float64(), "tight boxes of the rendered lines over the picture inside its borders, 0 to 1"),
    "text_boxes": (pa.list_(pa.list_(pa.float32())), "x0, y0, x1, y1 in display px, one per line"),
    "crop_x": (pa.int32(), "display px, the picture inside its black borders"),
    "crop_y": (pa.int32(), "display px"),
    "crop_w": (pa.int32(), "display px"),
    "crop_h": (pa.int32(), "display px"),
    "seen": (pa.string(), "what is seen, in words (not called caption: this table must not pass for a sidecar text)"),
    "width": (pa.int32(), "display px, after rotation"),
    "height": (pa.int32(), "display px, after rotation"),
    "rotation_deg": (pa.int32(), "clockwise turn that the container asks for"),
    "rate": (pa.float64(), "nominal frames per second"),
    "codec": (pa.string(), "encoder"),
    "n_frames": (pa.int32(), "frames that were written to the file"),
    "decodable_frames": (pa.int32(), "frames of this row that can be decoded: 0 beyond the end of a truncated file"),
}
SCHEMA = pa.schema([pa.field(name, kind, metadata={"doc": doc}) for name, (kind, doc) in _COLUMNS.items()])


def _where(video: VideoPlan, timeline: Timeline, span: Span, n_decodable: int) -> dict[str, Any]:
    fmt = video.format
    hard = span.kind == "hard"
    readable = int(span.start < n_decodable) if hard else max(0, min(span.end, n_decodable) - span.start)
    return {
        "file": video.file,
        "row": "shot" if span.kind == "shot" else "transition",
        "shot_index": span.shot,
        "start_frame": span.start,
        "end_frame": span.end,
        "start_s": timeline.seconds(span.start),
        "end_s": timeline.seconds(span.end),
        "transition": video.shots[span.shot].entry,
        "width": fmt.width,
        "height": fmt.height,
        "rotation_deg": fmt.rotate_deg,
        "rate": float(fmt.rate),
        "codec": fmt.codec,
        "n_frames": timeline.n_frames,
        "decodable_frames": readable,
    }


def _what(videos: list[VideoPlan], video: VideoPlan, shot: Shot) -> dict[str, Any]:
    plan, motion, boxes = shot.plan, shot.motion(), shot.text_boxes_px()
    x, y, w, h = shot.crop
    source = None if plan.original is None else f"{videos[plan.original[0]].file}#{plan.original[1]}"
    return {
        "defects": list(plan.defects),
        "duplicate_of": source,
        "motion_law": plan.law,
        "law_speed": motion.law_speed,
        "law_rate": motion.law_rate,
        "mean_speed": motion.mean_speed,
        "sprite_share": motion.sprite_share,
        "text_area": float(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum() / (w * h)),
        "text_boxes": boxes.tolist(),
        "crop_x": x,
        "crop_y": y,
        "crop_w": w,
        "crop_h": h,
        "seen": shot.caption,
    }


def video_rows(
    videos: list[VideoPlan], video: VideoPlan, timeline: Timeline, shots: list[Shot], n_decodable: int
) -> list[dict[str, Any]]:
    """Rows of one file in the order of time; `n_decodable` counts the frames that can be read back from its start."""
    rows = []
    for span in timeline.spans:
        row = _where(video, timeline, span, n_decodable)
        if span.kind == "shot":
            row |= _what(videos, video, shots[span.shot])
        else:
            last = span.start if span.kind == "hard" else span.end - 1
            row["accept_start_s"] = timeline.seconds(span.start - TOLERANCE_FRAMES)
            row["accept_end_s"] = timeline.seconds(last + TOLERANCE_FRAMES)
        rows.append(row)
    return rows


def write_truth(rows: list[dict[str, Any]], folder: Path) -> Path:
    """Write `truth.parquet` into the folder."""
    import pyarrow.parquet as pq

    path = folder / FILE
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path)
    return path
