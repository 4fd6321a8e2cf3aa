"""Record a video or its annotation that failed as a whole, so that it is done, counted and explained. Light: the driver
uses it too.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from clipmill.curate.contract import schema
from clipmill.curate.decode.task import BASE, VideoTask
from clipmill.curate.decode.unread import remember
from clipmill.curate.settings.fingerprints import BASE_TABLES
from clipmill.curate.tables.run_dir import RunDir

READ = "read"
"""The stage of a failure that lies with the place of the video, not with its content."""


def record_failure(task: VideoTask, stage: str, message: str) -> dict[str, Any]:
    """Write what the task leaves behind: an error row in `videos`, or error rows in the stale annotators' tables; where
    it keeps rows, only for what has none. What could not be read is tried again by the next command. Returns the
    event; `kept` says what stays.
    """
    if stage == READ:
        remember(task)
    kept = _kept(task)
    if BASE in task.stale:
        tables = [] if kept else _failed_video(task, stage, message)
    else:
        tables = _failed_annotations(task, [name for name in task.annotators if name not in kept], message)
    facts = {"status": "error", "stage": stage, "message": message, "frames_decoded": 0, "clips": 0, "tables": tables}
    return facts | ({"kept": kept} if kept else {})


def _kept(task: VideoTask) -> list[str]:
    """What the task has rows of and leaves as it is: `base`, or names of annotators."""
    if not task.keeps_rows:
        return []
    run, prints = RunDir(Path(task.run)), task.config.fingerprints
    if BASE in task.stale:
        rows = all(run.has(table, task.video_id, prints.base) for table in ("videos", "clips"))
        return [BASE] if rows else []
    return [name for name in task.annotators if run.has_any(prints.tables[name], task.video_id)]


def _failed_video(task: VideoTask, stage: str, message: str) -> list[str]:
    run, prints = RunDir(Path(task.run)), task.config.fingerprints
    no_curves = pa.table({"pts": pa.array([], pa.int64())})
    for table, rows in (
        ("curves", no_curves),
        ("clips", schema.CLIPS.empty_table()),
        ("frames", schema.FRAMES.empty_table()),
    ):
        run.write(table, task.video_id, prints.base, rows)
    for name in task.config.annotators:
        columns = task.config.annotators[name].columns
        run.write(
            prints.tables[name],
            task.video_id,
            prints.annotations[name],
            schema.annotation_schema(columns).empty_table(),
        )
    row = task.identity() | {"status": "error", "error_stage": stage, "error_message": message}
    run.write("videos", task.video_id, prints.base, pa.Table.from_pylist([row], schema=schema.VIDEOS))
    return list(BASE_TABLES)


def _failed_annotations(task: VideoTask, names: Sequence[str], message: str) -> list[str]:
    run, prints = RunDir(Path(task.run)), task.config.fingerprints
    clips = run.rows("clips", task.video_id, prints.base)
    clip_ids = [] if clips is None else clips["clip_id"].to_pylist()
    for name in names:
        columns = task.config.annotators[name].columns
        rows = [{"clip_id": c, **dict.fromkeys(columns), "status": "error", "error": message} for c in clip_ids]
        table = pa.Table.from_pylist(rows, schema=schema.annotation_schema(columns))
        run.write(prints.tables[name], task.video_id, prints.annotations[name], table)
    return list(names)
