"""Run annotators over the clips of one video: what each clip looks like to an annotator, and rows with a status."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from clipmill.curate.annotation.collector import Collector
from clipmill.curate.annotation.ready import Loaded
from clipmill.curate.contract.annotator import Annotator, ClipFrames, FrameRequest
from clipmill.curate.contract.captions import captions_of
from clipmill.curate.contract.schema import annotation_schema
from clipmill.curate.engines.signs import got_on
from clipmill.curate.errors import AnnotatorError, one_line
from clipmill.curate.settings.scenes import ScenesConfig
from clipmill.curate.video.picture import decode_picture

FULL_FRAME = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class ClipSource:
    """Everything known about a video's clips when annotators run. rows: of schema.CLIPS; first, stop: frame indices of
    each clip.
    jpegs: clip_id -> its stored pictures by role, read when asked for, because those of a long video fill the memory.
    """

    rows: Sequence[Mapping[str, Any]]
    first: Sequence[int]
    stop: Sequence[int]
    picture_px: tuple[int, int]
    t_s: np.ndarray
    signals: Mapping[str, np.ndarray]
    jpegs: Callable[[str], Mapping[str, bytes]]
    collector: Collector | None

    def view(
        self,
        annotator: Annotator,
        position: int,
        full_frame: bool = False,
        inputs: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
        sidecar: str | None = None,
    ) -> ClipFrames:
        """Clip `position` as the annotator sees it; `full_frame` ignores the crop box (borders are measured on all of
        it). inputs: annotator -> clip id -> its row, of those whose columns this one reads. sidecar: the video's
        caption.
        """
        row, start, stop = self.rows[position], self.first[position], self.stop[position]
        width, height = self.picture_px
        crop = FULL_FRAME
        if not full_frame:
            x, y, w, h = (row[f"crop_{side}"] for side in "xywh")
            crop = (x / width, y / height, (x + w) / width, (y + h) / height)
        t_s, frames, roles = self._pictures(annotator.frames, position, crop)
        observed_t_s, observed = (np.zeros(0), np.zeros((0, 0), np.float32))
        if self.collector is not None:
            observed_t_s, observed = self.collector.observed(annotator, start, stop)
        return ClipFrames(
            clip_id=row["clip_id"],
            video_id=row["video_id"],
            start_s=row["start_s"],
            end_s=row["end_s"],
            width_px=width if full_frame else row["crop_w"],
            height_px=height if full_frame else row["crop_h"],
            crop=crop,
            t_s=t_s,
            frames=frames,
            roles=roles,
            observed_t_s=observed_t_s,
            observed=observed,
            signals_t_s=self.t_s[start:stop],
            signals={name: _own(name, values[start:stop]) for name, values in self.signals.items()},
            columns=_columns(row, inputs or {}),
            captions=captions_of({name: rows.get(row["clip_id"]) for name, rows in (inputs or {}).items()}, sidecar),
        )

    def _pictures(
        self, request: FrameRequest | None, position: int, crop: tuple
    ) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
        if request is None:
            return np.zeros(0), np.zeros((0, 1, 1), np.uint8), ()
        if request.roles:
            stored = self.jpegs(self.rows[position]["clip_id"])
            roles = tuple(r for r in request.roles if r in stored)
            pictures = [_fit(decode_picture(stored[r], request.gray), request.short_side_px) for r in roles]
            t_s = np.asarray([role_time(r, self.rows[position]) for r in roles])
        else:
            assert self.collector is not None, "a rate request needs the decode"
            t_s, pictures = self.collector.frames(request, self.first[position], self.stop[position])
            roles = ()
        if not pictures:
            return np.zeros(0), np.zeros((0, 1, 1), np.uint8), ()
        return t_s, np.stack([_cut(p, crop) for p in _same_size(pictures)]), roles


def _columns(clip: Mapping[str, Any], inputs: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    columns = dict(clip)
    for rows in inputs.values():
        found = rows.get(clip["clip_id"], {})
        columns |= {name: value for name, value in found.items() if name not in ("clip_id", "status", "error")}
    return columns


def role_time(role: str, row: Mapping[str, Any]) -> float:
    """Where a role lies in a clip, seconds from the video's first frame."""
    return {"first": row["start_s"], "middle": (row["start_s"] + row["end_s"]) / 2, "last": row["end_s"]}[role]


def _own(name: str, values: np.ndarray) -> np.ndarray:
    """The difference of a clip's first frame looks back across the cut: it is not the clip's."""
    if name != "difference" or not len(values):
        return values
    return np.concatenate([[np.float32("nan")], values[1:]])


def _fit(picture: np.ndarray, short_side_px: int) -> np.ndarray:
    scale = short_side_px / min(picture.shape[:2])
    if scale >= 1:
        return picture
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _same_size(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    height, width = pictures[0].shape[:2]
    return [
        p if p.shape[:2] == (height, width) else cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA)
        for p in pictures
    ]


def _cut(picture: np.ndarray, crop: tuple[float, float, float, float]) -> np.ndarray:
    height, width = picture.shape[:2]
    x0, y0 = min(round(crop[0] * width), width - 1), min(round(crop[1] * height), height - 1)
    x1, y1 = max(round(crop[2] * width), x0 + 1), max(round(crop[3] * height), y0 + 1)
    return picture[y0:y1, x0:x1]


def annotate(loaded: Loaded, source: ClipSource, scenes: ScenesConfig, full_frame: bool = False) -> pa.Table:
    """One row per clip of the video: status ok, error or not_run, the last two with the reason in one line."""
    annotator, rows = loaded.annotator, []
    for position, clip in enumerate(source.rows):
        got_on()
        if reason := unusable(clip, scenes):
            rows.append(empty_row(annotator, clip, "not_run", reason))
            continue
        try:
            view = source.view(annotator, position, full_frame)
            values = loaded.measure([view])[0]
            if isinstance(values, Exception):
                raise values
            rows.append(empty_row(annotator, clip, "ok", None) | values)
        except Exception as error:
            kind = "" if isinstance(error, AnnotatorError) else f"{type(error).__name__}: "
            rows.append(empty_row(annotator, clip, "error", kind + one_line(error)))
    return pa.Table.from_pylist(rows, schema=annotation_schema(annotator.columns))


def unusable(clip: Mapping[str, Any], scenes: ScenesConfig) -> str | None:
    """Why a span is listed but never scored, None where it is a clip."""
    if clip["duration_s"] + 1e-9 < scenes.min_length_s:
        return f"shorter than scenes.min_length_s = {scenes.min_length_s:g}"
    if scenes.snap == "keyframe" and clip["keyframe_start_pts"] is None:
        return "no keyframe to start at: scenes.snap = keyframe"
    return None


def empty_row(annotator: Annotator, clip: Mapping[str, Any], status: str, error: str | None) -> dict[str, Any]:
    """A row without values. status: ok | error | not_run."""
    return {"clip_id": clip["clip_id"], **dict.fromkeys(annotator.columns), "status": status, "error": error}
