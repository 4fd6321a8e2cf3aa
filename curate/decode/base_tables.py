"""The tables that one decode makes together (videos, curves, clips, frames), made fresh or loaded, and the annotators'
view of them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clipmill.curate import scenes
from clipmill.curate.annotation.clip_view import ClipSource, annotate
from clipmill.curate.annotation.collector import Collector, Thumbs
from clipmill.curate.annotation.ready import Loaded, Ready
from clipmill.curate.annotation.stored_video import StoredVideo
from clipmill.curate.common.stage_clock import StageClock
from clipmill.curate.contract import schema
from clipmill.curate.contract.annotator import ROLES
from clipmill.curate.decode.decode_pass import DecodePass, decode_pass, video_facts
from clipmill.curate.decode.task import VideoTask
from clipmill.curate.errors import DecodeError
from clipmill.curate.scenes.spans import Span, spans
from clipmill.curate.scenes.transition import Transition
from clipmill.curate.settings.fingerprints import Fingerprints
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.video.picture import decode_picture

BORDERS = "borders"
_FRAME_ROWS = 256


@dataclass
class Base:
    """A video's rows and what annotators need. tables: annotator tables made on the way (borders come before all
    others).
    """

    video: dict[str, Any]
    clips: list[dict[str, Any]]
    source: ClipSource
    curves: pa.Table | None = None
    frames: Iterable[pa.Table] = ()
    tables: dict[str, pa.Table] = field(default_factory=dict)
    frames_decoded: int = 0
    clock: StageClock = field(default_factory=StageClock)

    def write(self, run: RunDir, unit: str, fingerprint: str) -> None:
        """Write the base tables; `videos` last, because it counts the others as done."""
        run.write("curves", unit, fingerprint, self.curves)
        run.write_streamed("frames", unit, fingerprint, schema.FRAMES, self.frames)
        run.write("clips", unit, fingerprint, pa.Table.from_pylist(self.clips, schema=schema.CLIPS))
        run.write("videos", unit, fingerprint, pa.Table.from_pylist([self.video], schema=schema.VIDEOS))


def make_base(task: VideoTask, annotators: Mapping[str, Loaded], ready: Ready, scratch: Path) -> tuple[Base, Collector]:
    """Decode the video once; find its clips; choose their pictures; measure their borders. Raises DecodeError."""
    config = task.config
    collector = Collector([loaded.annotator for loaded in annotators.values()], config.frames, scratch)
    networked = config.scenes.detector in ("fused", "transnetv2")
    thumbs = Thumbs(scratch) if networked else None
    result = decode_pass(Path(task.path), config.decode.decoder, config.scenes, collector, thumbs)
    with result.clock("cuts"):
        network = _cut_network(ready, task.device) if networked else None
        transitions, looked = scenes.detect(
            result.curves, result.t_s, config.scenes, thumbs.read if thumbs else None, network
        )
        scores = scenes.scores(result.curves, config.scenes, looked)
        found = spans(transitions, result.t_s, config.scenes, _keyframe_indices(result), scores)
    if thumbs:
        thumbs.close()
    facts = video_facts(result)
    clips = [clip_row(task.video_id, i, span, result, config.scenes.max_length_s) for i, span in enumerate(found)]
    with result.clock("frames"):
        chosen = _chosen_frames(clips, found, collector)
    source = ClipSource(
        clips,
        [s.start for s in found],
        [s.end for s in found],
        (facts["width"], facts["height"]),
        result.t_s,
        result.signals,
        lambda clip_id: {role: collector.jpeg(i) for role, i in chosen.get(clip_id, {}).items()},
        collector,
    )
    frames = _frame_rows(chosen, result, collector)
    base = Base(
        {}, clips, source, _curves_table(result, looked), frames, frames_decoded=len(result.pts), clock=result.clock
    )
    if BORDERS in annotators:
        with result.clock(BORDERS):
            base.tables[BORDERS] = annotate(annotators[BORDERS], source, config.scenes, full_frame=True)
            _apply_crop(clips, base.tables[BORDERS])
    base.video = (
        task.identity() | facts | _video_crop(clips, facts) | {"cuts": [_cut_struct(t, result) for t in transitions]}
    )
    return base, collector


def _cut_network(ready: Ready, device: str) -> Any:
    from clipmill.curate.scenes.transnet import WindowNetwork

    return ready.once(("transnetv2", device), lambda: WindowNetwork(device))


def _keyframe_indices(result: DecodePass) -> list[int]:
    keys = np.asarray(sorted(set(result.log.keyframe_pts)), np.int64)
    return np.flatnonzero(np.isin(result.pts, keys)).tolist()


def clip_row(video_id: str, index: int, span: Span, result: DecodePass, longest_s: float) -> dict[str, Any]:
    """A row of `clips` for frames [span.start, span.end); the crop box is the full frame until borders say
    otherwise.
    """
    tb = result.info.time_base
    start, end = _pts_at(result, span.start), _end_pts(result, span.end, longest_s)
    duration_s = float((end - start) * tb)
    has_keys = span.keyframe_start is not None and span.keyframe_end is not None
    return {
        "clip_id": schema.clip_id(video_id, start, end),
        "video_id": video_id,
        "clip_index": index,
        "start_pts": start,
        "end_pts": end,
        "time_base_num": tb.numerator,
        "time_base_den": tb.denominator,
        "start_s": float((start - int(result.pts[0])) * tb),
        "end_s": float((end - int(result.pts[0])) * tb),
        "duration_s": duration_s,
        "n_frames": span.end - span.start,
        "fps": (span.end - span.start) / duration_s,
        "keyframe_start_pts": _pts_at(result, span.keyframe_start) if has_keys else None,
        "keyframe_end_pts": _pts_at(result, span.keyframe_end) if has_keys else None,
        "crop_x": 0,
        "crop_y": 0,
        "crop_w": result.info.width,
        "crop_h": result.info.height,
        "width": result.info.width,
        "height": result.info.height,
        "cut_residual": span.cut_residual,
        **_corrupt_counts(result, span),
    }


def _corrupt_counts(result: DecodePass, span: Span) -> dict[str, int | None]:
    marks = None if result.corrupt is None else result.corrupt[span.start : span.end]
    return {
        "n_corrupt_frames": int(np.sum(marks == 1)) if marks is not None and result.tells else None,
        "n_frames_after_corrupt": None if marks is None else int(np.sum(marks == 2)),
    }


def _pts_at(result: DecodePass, index: int | None) -> int:
    """PTS of a frame, or the video's end for the index after the last."""
    assert index is not None
    return int(result.pts[index]) if index < len(result.pts) else result.end_pts


def _end_pts(result: DecodePass, index: int, longest_s: float) -> int:
    """Where a clip ends whose last frame is `index` - 1: at the next frame, but no frame counts as shown for longer
    than `longest_s`.
    """
    held = int(result.pts[index - 1]) + max(1, round(longest_s / result.info.time_base))
    return min(_pts_at(result, index), held)


def _cut_struct(cut: Transition, result: DecodePass) -> dict[str, Any]:
    return {
        "pts": _pts_at(result, cut.frame),
        "start_pts": _pts_at(result, cut.start),
        "end_pts": _pts_at(result, cut.end),
        "kind": cut.kind,
        "score": float(cut.score),
        "detector": cut.detector,
    }


def _chosen_frames(
    clips: Sequence[Mapping[str, Any]], found: Sequence[Span], collector: Collector
) -> dict[str, dict[str, int]]:
    """The sampled frames that a clip keeps, {clip_id: {role: position}}. Roles go to the sampled frames nearest to
    them.
    """
    samples = collector.jpegs
    assert samples is not None
    chosen = {}
    for clip, span in zip(clips, found, strict=True):
        inside = samples.inside(span.start, span.end)
        if inside:
            middle = min(inside, key=lambda i: abs(samples.index[i] - (span.start + span.end) / 2))
            chosen[clip["clip_id"]] = dict(zip(ROLES, (inside[0], middle, inside[-1]), strict=True))
    return chosen


def _frame_rows(
    chosen: Mapping[str, Mapping[str, int]], result: DecodePass, collector: Collector
) -> Iterator[pa.Table]:
    """The rows of `frames`, some hundred at a time, while the collector is open."""
    samples = collector.jpegs
    assert samples is not None
    wanted = [(clip_id, role, i) for clip_id, roles in chosen.items() for role, i in roles.items()]
    for at in range(0, len(wanted), _FRAME_ROWS):
        rows = []
        for clip_id, role, i in wanted[at : at + _FRAME_ROWS]:
            data = collector.jpeg(i)
            height, width = decode_picture(data, gray=True).shape
            pts = int(result.pts[samples.index[i]])
            rows.append({"clip_id": clip_id, "role": role, "pts": pts, "width": width, "height": height, "jpeg": data})
        yield pa.Table.from_pylist(rows, schema=schema.FRAMES)


def _curves_table(result: DecodePass, looked: np.ndarray | None) -> pa.Table:
    columns: dict[str, Any] = {"pts": result.pts} | result.signals | result.curves
    if looked is not None:
        columns["network"] = pa.array(looked.astype(np.float32), from_pandas=True)
    return pa.table(columns)


def _apply_crop(clips: list[dict[str, Any]], borders: pa.Table) -> None:
    boxes = {row["clip_id"]: row for row in borders.to_pylist() if row["status"] == "ok"}
    for clip in clips:
        box = boxes.get(clip["clip_id"])
        if box is not None and box["crop_w"] is not None:
            clip.update({key: box[key] for key in ("crop_x", "crop_y", "crop_w", "crop_h")})
            clip.update(width=box["crop_w"], height=box["crop_h"])


def _video_crop(clips: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> dict[str, int]:
    """The crop box that holds for the longest time; the full frame where there is no clip."""
    shown = {(0, 0, facts["width"], facts["height"]): 0.0}
    for clip in clips:
        box = clip["crop_x"], clip["crop_y"], clip["crop_w"], clip["crop_h"]
        shown[box] = shown.get(box, 0.0) + clip["duration_s"]
    box = max(sorted(shown), key=lambda b: shown[b])
    return dict(zip(("crop_x", "crop_y", "crop_w", "crop_h"), box, strict=True))


def load_base(
    task: VideoTask, annotators: Mapping[str, Loaded], run: RunDir, prints: Fingerprints, scratch: Path
) -> tuple[Base, Collector]:
    """The stored clips and pictures; the video is decoded again only where an annotator needs more than the stored
    pictures.
    """
    stored = StoredVideo(run, task.video_id, prints)
    collector = Collector([loaded.annotator for loaded in annotators.values()], None, scratch)
    clock, decoded = StageClock(), 0
    if any(loaded.annotator.needs_video for loaded in annotators.values()):
        result = decode_pass(Path(task.path), task.config.decode.decoder, None, collector, None)
        clock, decoded = result.clock, len(result.pts)
        if not np.array_equal(result.pts, stored.pts):
            raise DecodeError("the video no longer decodes as it did; run it again into a new directory")
    return Base(stored.video, stored.clips, stored.source(collector), frames_decoded=decoded, clock=clock), collector
