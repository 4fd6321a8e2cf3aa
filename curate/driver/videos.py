"""The driver of `curate run` and `curate annotate`: what is stale, who does it, what came of it."""

import os
import shlex
import shutil
import time
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from clipmill.curate.common.content import unchanged
from clipmill.curate.common.files import check_no_address, is_readable, write_atomic
from clipmill.curate.common.log import append_event
from clipmill.curate.config import Config
from clipmill.curate.contract import schema
from clipmill.curate.decode.failures import record_failure
from clipmill.curate.decode.task import BASE, VideoTask
from clipmill.curate.decode.unread import unread
from clipmill.curate.driver.listing import Listing
from clipmill.curate.driver.made_before import doubtful
from clipmill.curate.engines import Engine, Outcome
from clipmill.curate.engines.options import RunOptions
from clipmill.curate.errors import UserError, one_line
from clipmill.curate.inputs.files import printable
from clipmill.curate.inputs.sidecars import sidecar_text
from clipmill.curate.settings.fingerprints import BASE_TABLES
from clipmill.curate.storage.address import is_address
from clipmill.curate.tables.join import UNPROCESSED
from clipmill.curate.tables.run_dir import RunDir

MIN_FREE_BYTES = 64 << 20
# Without the pictures a video still counts as done: only what looks at them fails, and its source may be gone.
_NEEDED = tuple(table for table in BASE_TABLES if table != "frames")


def prepare_out(out: Path) -> RunDir:
    """Make the run directory. Raises UserError, one line, where it cannot be written or the disk is full."""
    check_no_address(out)
    run = RunDir(out)
    try:
        run.scratch.mkdir(parents=True, exist_ok=True)
        probe = run.scratch / "probe"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise UserError(f"cannot write to {out}: {one_line(error)}") from error
    free = shutil.disk_usage(out).free
    if free < MIN_FREE_BYTES:
        raise UserError(
            f"the disk of {out} is full: {free / 1e6:.0f} MB free, at least {MIN_FREE_BYTES / 1e6:.0f} MB needed"
        )
    return run


def remove_damaged(run: RunDir, config: Config, options: RunOptions, units: Collection[str] | None = None) -> None:
    """Parts that lost their content count as missing, and are told. units: only theirs; None: of all."""
    prints = config.fingerprints
    tables = dict.fromkeys(_NEEDED, prints.base)
    tables |= {prints.tables[name]: prints.annotations[name] for name in config.annotators}
    for table, made_by in tables.items():
        for path in run.remove_lost(table) if units is None else ():
            options.tell(f"{path} is damaged: what it held is made again")
        damaged = run.damaged(table, made_by)
        _remove(run, table, made_by, damaged if units is None else damaged.intersection(units), options)


def remove_unreadable(listing: Listing, run: RunDir, config: Config, options: RunOptions) -> bool:
    """As `remove_damaged`, by reading every part whole, once one could not be read: whether any was removed. What only
    the video can make again stays where that is away.
    """
    prints = config.fingerprints
    here = {source.video_id or "" for source in listing.units if source.is_here}
    tables = dict.fromkeys(BASE_TABLES, (prints.base, here))
    for name, annotator in config.annotators.items():
        units = here if annotator.needs_video else set(listing.names)
        tables[prints.tables[name]] = prints.annotations[name], units
    found = 0
    for table, (made_by, units) in tables.items():
        damaged = run.damaged(table, made_by, is_readable) & units
        found += len(damaged)
        _remove(run, table, made_by, damaged, options)
        if table not in _NEEDED and made_by == prints.base:
            # Pictures alone do not make a video stale: another table of the same decode goes with them.
            run.remove(_NEEDED[0], damaged, made_by)
    return found > 0


def _remove(run: RunDir, table: str, made_by: str, units: set[str], options: RunOptions) -> None:
    run.remove(table, units, made_by)
    if units:
        options.tell(f"{table}: {len(units)} damaged {'part is' if len(units) == 1 else 'parts are'} made again")


def tasks_of(listing: Listing, run: RunDir, config: Config, options: RunOptions) -> list[VideoTask]:
    """One task per video with something stale, large files first so that the last worker is not left alone with one."""
    prints = config.fingerprints
    base_done = set.intersection(*(run.done(table, prints.base) for table in _NEEDED))
    done = {name: run.done(prints.tables[name], prints.annotations[name]) for name in config.decoding}
    tried = done
    failed: set[str] = set()
    changed, not_read = doubtful(run), unread(run)
    if options.retry_errors:
        failed = _with_errors(run, "videos", prints.base, base_done)
        done = {
            n: units - _with_errors(run, prints.tables[n], prints.annotations[n], units) for n, units in done.items()
        }
    tasks = []
    for source in listing.units:
        unit = source.video_id or ""
        is_here = source.is_here
        again = not_read.get(unit, set()) if is_here else set()
        if unit not in base_done or BASE in again or (unit in failed | changed and is_here):
            stale: tuple[str, ...] = (BASE,)
        else:
            # What failed is tried again only where it can be.
            can = {name for name in done if is_here or not config.annotators[name].needs_video}
            stale = tuple(n for n in done if n in again or unit not in (done if n in can else tried)[n])
        if stale:
            text, _ = sidecar_text(source.path, source.relpath, listing.sidecars)
            task = VideoTask(
                path=str(source.path),
                uri=source.uri,
                relpath=source.relpath,
                video_id=unit,
                sha256=source.sha256 or "",
                size_bytes=source.size_bytes or 0,
                run=str(run.root),
                config=config,
                stale=stale,
                sidecar=text,
                device=options.device,
                state=source.state,
                keeps_rows=options.keeps_rows,
                scratch=str(run.scratch),
            )
            tasks.append(task)
    return sorted(tasks, key=lambda t: (-t.size_bytes, t.relpath))


def _with_errors(run: RunDir, table: str, fingerprint: str, units: set[str]) -> set[str]:
    """The units whose part of this table holds an error row."""
    return {
        unit
        for unit in units
        if (rows := run.rows(table, unit, fingerprint)) is not None and "error" in rows["status"].to_pylist()
    }


def check_lost(listing: Listing, run: RunDir, config: Config, options: RunOptions) -> None:
    """As `check_sources`, for a listing with videos of earlier commands that may be away."""
    if not all(source.is_here for source in listing.units):
        check_sources(tasks_of(listing, run, config, options), run)


def check_sources(tasks: Sequence[VideoTask], run: RunDir) -> None:
    """Raise UserError, one line, where a task must decode a video that is not where it was. For commands that are not
    told where videos are: their error rows would take the place of good ones.
    """
    lost = {task.path: names for task in tasks if (names := _decoders(task)) and not _is_here(task)}
    if lost:
        who = ", ".join(dict.fromkeys(name for names in lost.values() for name in names))
        raise UserError(
            f"{who} must decode videos that are not there any more ({len(lost)}, such as"
            f" {printable(next(iter(lost)))}): `curate run NEWPLACE --out {shlex.quote(str(run.root))}` tells the run"
            " where its videos are now, and --drop-missing takes out those that it does not find"
        )


def check_unchanged(tasks: Sequence[VideoTask], run: RunDir) -> None:
    """Raise UserError, one line, where a task must decode a video again that holds other bytes now: what other settings
    make of the one that was cannot be told any more, and the values that there are would go.
    """
    decoders = {name for task in tasks if BASE not in task.stale for name in _decoders(task)}
    there = {name: run.units(tasks[0].config.fingerprints.tables[name]) for name in decoders}
    replaced: dict[str, list[str]] = {}
    for task in tasks:
        names = [n for n in _decoders(task) if BASE not in task.stale and task.video_id in there[n]]
        if names and not _is_unchanged(task):
            replaced[task.relpath] = names
    if replaced:
        who = ", ".join(dict.fromkeys(name for names in replaced.values() for name in names))
        raise UserError(
            f"{who} must decode videos that were replaced since ({len(replaced)}, such as {next(iter(replaced))}):"
            f" `curate run VIDEOS --out {shlex.quote(str(run.root))}` takes them as they are now"
        )


def _is_here(task: VideoTask) -> bool:
    return is_address(task.uri) or os.path.exists(task.path)


def _is_unchanged(task: VideoTask) -> bool:
    if is_address(task.uri):  # known when it is fetched
        return True
    try:
        with unchanged(Path(task.path), task.sha256, task.state):
            return True
    except OSError:
        return False


def _decoders(task: VideoTask) -> list[str]:
    """What of the task needs the video itself, not only what is stored of it: as in
    `clipmill.curate.decode.base_tables.load_base`.
    """
    if BASE in task.stale:
        return ["the detection of cuts"]
    return [name for name in task.annotators if task.config.annotators[name].needs_video]


def process(tasks: Sequence[VideoTask], engine: Engine, run: RunDir, options: RunOptions) -> Counter:
    """Run the tasks, one event each in run.jsonl. Returns counts of statuses, clips, frames decoded and seconds per
    stage.

    Raises UserError where the disk fills up: what is done stays done.
    """
    from clipmill.curate.annotation.ready import Ready
    from clipmill.curate.decode.worker import process_video
    from clipmill.curate.engines import prepare_worker

    def deadline_s(task: VideoTask) -> float:
        return options.deadline_s(task.size_bytes)

    totals: Counter = Counter()
    with options.progress("curating", len(tasks), "videos") as bar:
        for outcome in engine.map(partial(process_video, ready=Ready()), tasks, deadline_s, prepare_worker):
            event = _event(outcome)
            append_event(run.events, {"unit": outcome.task.video_id, "relpath": outcome.task.relpath, **event})
            _count(totals, event)
            if kept := event.get("kept"):
                options.tell(
                    f"{outcome.task.relpath}: {event['message']}; what the run holds of it stays ({', '.join(kept)})"
                )
            bar.advance(note=f"{totals['clips']} clips, {totals['error']} errors")
    with suppress(OSError):
        shutil.rmtree(run.scratch)
        run.scratch.parent.rmdir()
    return totals


def _event(outcome: Outcome[VideoTask]) -> dict[str, Any]:
    if outcome.status == "ok":
        return dict(outcome.value)
    stage = "internal" if outcome.status == "error" else outcome.status
    event = record_failure(outcome.task, stage, outcome.message or outcome.status)
    return event | {"status": outcome.status}


def _count(totals: Counter, event: dict[str, Any]) -> None:
    totals["videos"] += 1
    totals["error" if event["status"] in ("error", "crashed", "timeout") else event["status"]] += 1
    totals["clips"] += event.get("clips", 0)
    totals["frames_decoded"] += event.get("frames_decoded", 0)
    for stage, seconds in event.get("stages", {}).items():
        totals[f"seconds {stage}"] += seconds


def write_unprocessed(listing: Listing, run: RunDir) -> None:
    """The rows of files that no worker sees: unreadable ones and byte-for-byte copies."""
    rows = []
    for source in listing.sources:
        row = {"uri": source.uri, "relpath": source.relpath, "size_bytes": source.size_bytes, "sha256": source.sha256}
        if source.problem is not None:
            rows.append(row | {"status": "error", "error_stage": "read", "error_message": source.problem})
        elif source.duplicate_of is not None:
            rows.append(row | {"video_id": source.video_id, "status": "duplicate", "duplicate_of": source.duplicate_of})
    write_atomic(run.root / "videos" / UNPROCESSED, pa.Table.from_pylist(rows, schema=schema.VIDEOS))


def refresh_videos(listing: Listing, run: RunDir, config: Config) -> list[str]:
    """Bring place and sidecar text of every `videos` row up to date, for files that were renamed or described since;
    what was said of a caption that has changed is taken away, to be made again. A video that is not here keeps its
    text: nobody can see what lies beside it. Returns warnings.
    """
    fingerprint, warnings = config.fingerprints.base, list(listing.sidecars.warnings)
    for source in listing.units:
        # What a list says of an object is known; nobody can see what lies beside it.
        seen = str(source.path) in listing.sidecars.texts if source.address else os.path.exists(source.path)
        there = run.rows("videos", source.video_id or "", fingerprint) if seen else None
        if there is None:
            continue
        text, found = sidecar_text(source.path, source.relpath, listing.sidecars)
        warnings.extend(found)
        row = there.to_pylist()[0]
        current = row | {"uri": source.uri, "relpath": source.relpath} | text
        if current["caption"] != row["caption"]:
            _forget_judgements(run, config, source.video_id or "")
        if current != row:
            path = run.part("videos", source.video_id or "", fingerprint)
            write_atomic(path, pa.Table.from_pylist([current], schema=schema.VIDEOS))
    return warnings


def _forget_judgements(run: RunDir, config: Config, unit: str) -> None:
    prints = config.fingerprints
    for name in config.stored:
        if config.annotators[name].reads_sidecar:
            run.remove(prints.tables[name], [unit], prints.annotations[name])


def now() -> str:
    """UTC time for run.json, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
