"""Annotate stored clips, many of many videos at once: the worker of the pass that follows all decoding.

A part is written as soon as its video's clips are done, and holds what earlier passes found: a pass that was stopped
goes on.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from clipmill.curate.annotation.clip_view import ClipSource, empty_row, unusable
from clipmill.curate.annotation.ready import Ready
from clipmill.curate.annotation.stored_video import StoredVideo
from clipmill.curate.common.device import resolve_device
from clipmill.curate.config import Config
from clipmill.curate.contract import schema
from clipmill.curate.contract.annotator import ClipFrames
from clipmill.curate.contract.annotator_order import inputs_of
from clipmill.curate.engines.signs import got_on
from clipmill.curate.errors import AnnotatorError, Damaged, UserError, one_line
from clipmill.curate.inputs.files import source_at
from clipmill.curate.tables.run_dir import RunDir

# How a row begins that was left out, not tried: another pass may fill it.
NOT_IN_PLAY = "not in play: "
NEEDS = "needs "


@dataclass(frozen=True)
class StoredUnit:
    """One video. in_play: clip id -> why it is not to be annotated now; empty: all are."""

    video_id: str
    relpath: str
    n_clips: int
    out_of_play: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredTask:
    """Units for one process, and which annotators run on them, in order. retry_errors: try again what ended as an error
    row.
    """

    units: tuple[StoredUnit, ...]
    annotators: tuple[str, ...]
    run: str
    config: Config
    device: str = "cpu"
    retry_errors: bool = False


def wanted(row: Mapping[str, Any] | None, out_of_play: Mapping[str, str], clip_id: str, retry_errors: bool) -> bool:
    """Whether a clip is to be annotated, from the row that an earlier pass left (None: there is none)."""
    if row is None:
        return True
    reason = row["error"] or ""
    if row["status"] == "not_run" and reason.startswith(NOT_IN_PLAY):
        return clip_id not in out_of_play
    if row["status"] == "not_run" and reason.startswith(NEEDS):
        return retry_errors
    return retry_errors and row["status"] == "error"


def annotate_stored(task: StoredTask, ready: Ready | None = None) -> dict[str, Any]:
    """Make the parts of all units. ready: what the worker has loaded. Returns counts for run.jsonl."""
    ready = ready or Ready()
    run, seconds = RunDir(Path(task.run)), {}
    counts = {"ok": 0, "error": 0, "not_run": 0}
    for name in task.annotators:
        began = time.perf_counter()
        for video in _Pass(task, name, run, ready).videos():
            for status in video.new:
                counts[status] += 1
        seconds[name] = round(time.perf_counter() - began, 4)
    return {"status": "ok", "units": len(task.units), "stages": seconds} | counts


@dataclass
class _Video:
    """A video's rows on the way. todo: positions still to do; new: statuses of what this pass did."""

    unit: StoredUnit
    source: ClipSource
    inputs: Mapping[str, Mapping[str, Mapping[str, Any]]]
    stored: StoredVideo
    rows: dict[str, dict[str, Any]]
    todo: int = 0
    new: list[str] = field(default_factory=list)


class _Pass:
    """One annotator over the units of a task."""

    def __init__(self, task: StoredTask, name: str, run: RunDir, ready: Ready) -> None:
        self.task, self.name, self.run, self.ready = task, name, run, ready
        self.prints = task.config.fingerprints
        self.annotator = task.config.annotators[name]
        self.inputs = inputs_of(name, self.annotator, task.config.annotators)

    def videos(self) -> Iterator[_Video]:
        """Each video once its part is written."""
        opened: list[_Video] = []
        places = self._places(opened)
        # The next pictures are read and decoded while the network works.
        with ThreadPoolExecutor(1) as reader:
            ready = reader.submit(self._views, list(islice(places, self.annotator.batch_clips)))
            while batch := ready.result():
                ready = reader.submit(self._views, list(islice(places, self.annotator.batch_clips)))
                self._fill(batch)
                yield from self._written(opened)
        yield from self._written(opened)

    def _places(self, opened: list[_Video]) -> Iterator[tuple[_Video, int]]:
        for unit in self.task.units:
            video = self._opened(unit)
            places = [i for i, clip in enumerate(video.source.rows) if self._asked(video, clip)]
            video.todo = len(places)
            opened.append(video)
            yield from ((video, i) for i in places)

    def _asked(self, video: _Video, clip: Mapping[str, Any]) -> bool:
        """Whether the annotator is to see the clip; where not, its row says why."""
        clip_id = clip["clip_id"]
        if not wanted(video.rows.get(clip_id), video.unit.out_of_play, clip_id, self.task.retry_errors):
            return False
        reason = self._reason_not_to(video, clip)
        if reason is not None:
            self._put(video, empty_row(self.annotator, clip, "not_run", reason))
        return reason is None

    def _reason_not_to(self, video: _Video, clip: Mapping[str, Any]) -> str | None:
        clip_id = clip["clip_id"]
        if reason := unusable(clip, self.task.config.scenes):
            return reason
        if clip_id in video.unit.out_of_play:
            return NOT_IN_PLAY + video.unit.out_of_play[clip_id]
        for other in self.annotator.after:
            row = video.inputs[other].get(clip_id)
            if row is None or row["status"] != "ok":
                reason = "it has no row" if row is None else row["error"] or row["status"]
                return reason if reason.startswith(NOT_IN_PLAY) else f"{NEEDS}{other}: {reason}"
        return None

    def _opened(self, unit: StoredUnit) -> _Video:
        stored = StoredVideo(self.run, unit.video_id, self.prints)
        rows = stored.annotations(self.name)
        inputs = {other: stored.annotations(other) for other in self.inputs}
        return _Video(unit, stored.source(), inputs, stored, rows)

    def _views(self, places: Sequence[tuple[_Video, int]]) -> list[tuple[_Video, int, ClipFrames | Exception]]:
        return [(video, position, self._view(video, position)) for video, position in places]

    def _view(self, video: _Video, position: int) -> ClipFrames | Exception:
        try:
            return video.source.view(self.annotator, position, inputs=video.inputs, sidecar=video.stored.caption)
        except Damaged as error:
            if source_at(video.stored.video["uri"]).is_here:  # else nothing could make the part again
                raise
            return error
        except Exception as error:
            return error

    def _fill(self, batch: Sequence[tuple[_Video, int, ClipFrames | Exception]]) -> None:
        good = [view for _, _, view in batch if isinstance(view, ClipFrames)]
        found = iter(self._values(good))
        for video, position, view in batch:
            value = view if isinstance(view, Exception) else next(found)
            clip = video.source.rows[position]
            if isinstance(value, Exception):
                kind = "" if isinstance(value, AnnotatorError) else f"{type(value).__name__}: "
                self._put(video, empty_row(self.annotator, clip, "error", kind + one_line(value)))
            else:
                self._put(video, empty_row(self.annotator, clip, "ok", None) | value)
            video.todo -= 1

    def _values(self, views: Sequence[ClipFrames]) -> list[dict[str, Any] | Exception]:
        """Values per clip, or why there are none. Where the batch fails, each clip is tried alone: one bad clip costs
        only itself.
        """
        if not views:
            return []
        got_on()
        # Only now: a network that has nothing to do need not be loaded.
        loaded = self.ready.annotator(self.task.config, self.name, resolve_device(self.task.device))
        try:
            return list(loaded.measure(views))
        except UserError:
            raise
        except Exception as error:
            if len(views) == 1:
                return [error]
        return [value for view in views for value in self._values([view])]

    def _put(self, video: _Video, row: dict[str, Any]) -> None:
        video.rows[row["clip_id"]] = row
        video.new.append(row["status"])

    def _written(self, opened: list[_Video]) -> Iterator[_Video]:
        """Writes the parts of the videos that are done, in their order."""
        while opened and not opened[0].todo:
            video = opened.pop(0)
            if video.new or not video.source.rows:
                rows = [video.rows[clip["clip_id"]] for clip in video.source.rows]
                table = pa.Table.from_pylist(rows, schema=schema.annotation_schema(self.annotator.columns))
                name = self.prints.tables[self.name], self.prints.annotations[self.name]
                self.run.write(name[0], video.unit.video_id, name[1], table)
            yield video
