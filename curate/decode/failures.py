"""Record a video or its annotation that failed as a whole, so that it is done, counted and explained. Light: the driver
uses it too.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa

from clipmill.curate.common.files import read_table
from clipmill.curate.contract import schema
from clipmill.curate.decode.task import BASE, VideoTask
from clipmill.curate.decode.unread import remember
from clipmill.curate.settings.fingerprints import BASE_TABLES
from clipmill.curate.tables.run_dir import RunDir

READ = "read"
"""The stage of a failure that lies with the place of the video, not with its content."""


def record_failure(task: VideoTask, stage: str, message: str) -> dict[str, Any]:
    """Write what the task leaves behind: an error row in `videos`, or error rows in the stale annotators' tables. One
    that could not be read is tried again by the next command. Returns the event.
    """
    if stage == READ:
        remember(task)
    tables = _failed_video(task, stage, message) if BASE in task.stale else _failed_annotations(task, message)
    return {"status": "error", "stage": stage, "message": message, "frames_decoded": 0, "clips": 0, "tables": tables}


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


def _failed_annotations(task: VideoTask, message: str) -> list[str]:
    run, prints = RunDir(Path(task.run)), task.config.fingerprints
    clip_ids = read_table(run.part("clips", task.video_id, prints.base))["clip_id"].to_pylist()
    for name in task.annotators:
        columns = task.config.annotators[name].columns
        rows = [{"clip_id": c, **dict.fromkeys(columns), "status": "error", "error": message} for c in clip_ids]
        table = pa.Table.from_pylist(rows, schema=schema.annotation_schema(columns))
        run.write(prints.tables[name], task.video_id, prints.annotations[name], table)
    return list(task.annotators)
