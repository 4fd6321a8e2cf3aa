"""Videos that could not be read when it was their turn, though they had been listed: away, replaced, on a disk that
failed. The reason may be gone: the next command tries them again.

RUN/.unread/<unit> names the tables that were not made, a line each. It is written before the error rows, and goes when
the tables are made.
"""

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from clipmill.curate.common.files import write_text
from clipmill.curate.decode.task import BASE, VideoTask
from clipmill.curate.tables.run_dir import RunDir

_FOLDER = ".unread"


def remember(task: VideoTask) -> None:
    """The task's tables count as not tried, beside those of earlier commands. Raises OSError."""
    run = RunDir(Path(task.run))
    (run.root / _FOLDER).mkdir(parents=True, exist_ok=True)
    names = {*task.stale, *unread(run).get(task.video_id, ())}
    write_text(_marker(run, task.video_id), "".join(f"{name}\n" for name in sorted(names)), synced=True)


def made(task: VideoTask) -> None:
    """The task's tables are there now; with the base tables, all are."""
    run = RunDir(Path(task.run))
    left = set() if BASE in task.stale else unread(run).get(task.video_id, set()) - set(task.stale)
    if left:
        write_text(_marker(run, task.video_id), "".join(f"{name}\n" for name in sorted(left)), synced=True)
    else:
        _forget(run, [task.video_id])


def unread(run: RunDir) -> dict[str, set[str]]:
    """Unit -> names of the tables that were not made of it: `base`, annotators."""
    folder = run.root / _FOLDER
    if not folder.is_dir():
        return {}
    return {p.name: set(p.read_text(encoding="utf-8").split()) for p in folder.iterdir() if p.suffix != ".tmp"}


def forget_others(run: RunDir, units: Collection[str]) -> None:
    """What is not among the units has left the run."""
    _forget(run, unread(run).keys() - set(units))


def _forget(run: RunDir, units: Collection[str]) -> None:
    for unit in units:
        _marker(run, unit).unlink(missing_ok=True)
    with suppress(OSError):  # others are in it, or it was never there
        (run.root / _FOLDER).rmdir()


def _marker(run: RunDir, unit: str) -> Path:
    return run.root / _FOLDER / unit
