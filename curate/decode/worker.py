"""Process one video: decode it once, find its clips, annotate them, write its parts. The only code that runs inside a
worker.

A worker writes its own part files; only a `VideoTask` goes in and a small dict comes out.
"""

import time
from contextlib import ExitStack, closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from clipmill.curate.annotation.clip_view import annotate
from clipmill.curate.annotation.ready import Loaded, Ready
from clipmill.curate.common.content import unchanged
from clipmill.curate.common.device import resolve_device
from clipmill.curate.decode.base_tables import BORDERS, Base, load_base, make_base
from clipmill.curate.decode.failures import READ, record_failure
from clipmill.curate.decode.task import BASE, VideoTask
from clipmill.curate.decode.unread import made
from clipmill.curate.errors import DecodeError, is_full_disk, one_line
from clipmill.curate.settings.fingerprints import BASE_TABLES
from clipmill.curate.storage.address import is_address
from clipmill.curate.storage.staging import at_hand
from clipmill.curate.tables.run_dir import RunDir


def process_video(task: VideoTask, ready: Ready | None = None) -> dict[str, Any]:
    """Make the stale tables of one video. ready: what the worker has loaded. Returns what goes to run.jsonl; status
    ok | partial | error. Raises OSError where the disk is full.
    """
    began = time.perf_counter()
    try:
        result = _process(replace(task, device=resolve_device(task.device)), ready or Ready())
    except DecodeError as error:
        result = record_failure(task, "probe", str(error))
    except OSError as error:
        if is_full_disk(error):
            raise
        result = record_failure(task, READ, one_line(error))
    result["seconds"] = round(time.perf_counter() - began, 4)
    return result


def _process(task: VideoTask, ready: Ready) -> dict[str, Any]:
    run, prints = RunDir(Path(task.run)), task.config.fingerprints
    base_is_stale, scratch = BASE in task.stale, Path(task.scratch) if task.scratch else run.scratch
    annotators = {name: ready.annotator(task.config, name, task.device) for name in task.annotators}
    source = unchanged(Path(task.path), task.sha256, task.state) if task.reads_video else nullcontext()
    with ExitStack() as files:
        if task.reads_video and is_address(task.uri):
            files.enter_context(at_hand(task.uri))
        with source:
            if base_is_stale:
                base, collector = make_base(task, annotators, ready, scratch)
            else:
                base, collector = load_base(task, annotators, run, prints, scratch)
            files.enter_context(closing(collector))
            tables = {name: _table(task, base, name, loaded) for name, loaded in annotators.items()}
        for name, table in tables.items():
            run.write(prints.tables[name], task.video_id, prints.annotations[name], table)
        if base_is_stale:
            base.write(run, task.video_id, prints.base)
    made(task)
    return {
        "status": base.video["status"],
        "message": base.video["error_message"],
        "frames_decoded": base.frames_decoded,
        "clips": len(base.clips),
        "tables": [*(BASE_TABLES if base_is_stale else ()), *annotators],
        "stages": {stage: round(seconds, 4) for stage, seconds in base.clock.seconds.items()},
    }


def _table(task: VideoTask, base: Base, name: str, loaded: Loaded) -> pa.Table:
    if name in base.tables:
        return base.tables[name]
    with base.clock(name):
        return annotate(loaded, base.source, task.config.scenes, full_frame=name == BORDERS)
