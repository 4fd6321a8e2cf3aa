"""Process one video: decode it once, find its clips, annotate them, write its parts. The only code that runs inside a
worker.

A worker writes its own part files; only a `VideoTask` goes in and a small dict comes out.
"""

import errno
import functools
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from clipmill.curate.annotate import annotate
from clipmill.curate.annotators import Annotator
from clipmill.curate.base import BORDERS, load_base, make_base
from clipmill.curate.config import Config
from clipmill.curate.errors import DecodeError, UserError
from clipmill.curate.failures import record_failure
from clipmill.curate.fingerprints import BASE_TABLES, fingerprints
from clipmill.curate.manifest import RunDir
from clipmill.curate.task import BASE, VideoTask
from clipmill.curate.video import one_line

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
DEVICES = ("auto", "cpu", "cuda")


def prepare_worker() -> None:
    """Once per worker process: no thread pools beside ours, and Ctrl-C is the driver's to handle."""
    import signal

    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)


def ready_annotator(config: Config, name: str, device: str) -> Annotator:
    """The annotator after its setup, once per worker and parameters."""
    return _ready(config.annotator(name), device, tuple(config.files(name).items()))


@functools.lru_cache(maxsize=32)
def _ready(annotator: Annotator, device: str, files: tuple[tuple[str, Path], ...]) -> Annotator:
    annotator.setup(device, dict(files))
    return annotator


@functools.lru_cache(maxsize=4)
def resolve_device(name: str) -> str:
    """auto -> cuda where there is a usable GPU, else cpu. torch, slow to import, is asked only where a driver is
    loaded.
    """
    if name != "auto":
        return name
    if not Path("/proc/driver/nvidia/version").exists():
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(name: str) -> None:
    """For the preflight: raise UserError, one line, for a device that is none, or not here."""
    if name not in DEVICES:
        raise UserError(f"--device is auto, cpu or cuda, not {name}")
    if name != "cuda":
        return
    import torch

    if not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no CUDA device here; `curate doctor` says more")


def process_video(task: VideoTask) -> dict[str, Any]:
    """Make the stale tables of one video. Returns what goes to run.jsonl; status ok | partial | error | full_disk."""
    began = time.perf_counter()
    try:
        result = _process(replace(task, device=resolve_device(task.device)))
    except DecodeError as error:
        result = record_failure(task, "probe", str(error))
    except OSError as error:
        if error.errno in FULL_DISK:
            return {"status": "full_disk", "message": one_line(error)}
        result = record_failure(task, "read", one_line(error))
    result["seconds"] = round(time.perf_counter() - began, 4)
    return result


def _process(task: VideoTask) -> dict[str, Any]:
    run, prints = RunDir(Path(task.run)), fingerprints(task.config)
    base_is_stale = BASE in task.stale
    annotators = {name: ready_annotator(task.config, name, task.device) for name in task.annotators}
    if base_is_stale:
        base, collector = make_base(task, annotators, run.scratch)
    else:
        base, collector = load_base(task, annotators, run, prints, run.scratch)
    with closing(collector):
        for name, annotator in annotators.items():
            table = base.tables.get(name)
            if table is None:
                with base.clock(name):
                    table = annotate(annotator, base.source, task.config.scenes, full_frame=name == BORDERS)
            run.write(prints.tables[name], task.video_id, prints.annotations[name], table)
        if base_is_stale:
            base.write(run, task.video_id, prints.base)
    return {
        "status": base.video["status"],
        "message": base.video["error_message"],
        "frames_decoded": base.frames_decoded,
        "clips": len(base.clips),
        "tables": [*(BASE_TABLES if base_is_stale else ()), *annotators],
        "stages": {stage: round(seconds, 4) for stage, seconds in base.clock.seconds.items()},
    }
