"""The driver of the passes that follow all decoding: annotators that need stored pictures and columns alone, over clips
of many videos.

Passes are cut where the next annotator needs another network: one that several share is loaded once, and no two lie in
memory together. Under `lazy` each pass looks only at the clips that no filter has dropped by then, and the rows of the
others say so.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile

import pyarrow as pa

from clipmill.curate.annotation.ready import Ready
from clipmill.curate.annotation.stored_worker import StoredTask, StoredUnit, annotate_stored, wanted
from clipmill.curate.common.device import resolve_device
from clipmill.curate.common.log import append_event
from clipmill.curate.config import Config
from clipmill.curate.contract.schema import annotation_schema
from clipmill.curate.engines import Engine, prepare_worker
from clipmill.curate.engines.by_name import engine_of
from clipmill.curate.engines.options import RunOptions
from clipmill.curate.settings.fingerprints import Fingerprints
from clipmill.curate.tables.run_dir import RunDir

_CLIPS_PER_TASK = 512
_TIMEOUT_S, _TIMEOUT_S_PER_CLIP = 300.0, 60.0


def passes(config: Config) -> list[tuple[str, ...]]:
    """The stored annotators in their order, cut before each that needs another network on the GPU than those before
    it.
    """
    found: list[list[str]] = [[]]
    network: tuple[str, ...] = ()
    for name in config.stored:
        annotator = config.annotators[name]
        if annotator.gpu > 0:
            if network and annotator.weights != network:
                found.append([])
            network = annotator.weights
        found[-1].append(name)
    return [tuple(names) for names in found if names]


def run_passes(run: RunDir, config: Config, videos: Mapping[str, str], options: RunOptions) -> Counter:
    """All passes over these videos (id -> name for people). Returns clips by status and seconds by stage. Raises
    UserError.
    """
    totals: Counter = Counter()
    for names in passes(config):
        units = _units(run, config, videos, names, options)
        if units:
            totals += _one_pass(run, config, names, units, options)
    return totals


def _units(
    run: RunDir, config: Config, videos: Mapping[str, str], names: Sequence[str], options: RunOptions
) -> list[StoredUnit]:
    """The videos with something to do in this pass."""
    prints = config.fingerprints
    dropped = _out_of_play(run, config, list(videos), names) if options.lazy else {}
    done = run.done("videos", prints.base)
    units = []
    for video_id, relpath in videos.items():
        if video_id in done:
            clips = run.rows("clips", video_id, prints.base, columns=["clip_id"])
            unit = StoredUnit(video_id, relpath, 0 if clips is None else len(clips), dropped.get(video_id, {}))
            if any(_is_stale(run, prints, name, unit, options.retry_errors) for name in names):
                units.append(unit)
    return units


def _is_stale(run: RunDir, prints: Fingerprints, name: str, unit: StoredUnit, retry_errors: bool) -> bool:
    columns = ["clip_id", "status", "error"]
    rows = run.rows(prints.tables[name], unit.video_id, prints.annotations[name], columns=columns)
    if rows is None:
        return True
    return any(wanted(row, unit.out_of_play, row["clip_id"], retry_errors) for row in rows.to_pylist())


def _out_of_play(run: RunDir, config: Config, videos: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, str]]:
    """video id -> clip id -> the filters that drop it, by what was measured before this pass."""
    from clipmill.curate.contract.schema import CLIPS, JOINED_COLUMNS
    from clipmill.curate.policy import decisions
    from clipmill.curate.policy.policy import parse
    from clipmill.curate.tables.join import join, makers

    before = takewhile(lambda item: item[0] not in names, config.annotators.items())
    known = replace(config, annotators=dict(before))
    columns = {*CLIPS.names, *makers(known), *JOINED_COLUMNS}
    policy = parse("lazy", {column: rule for column, rule in config.policy.items() if column in columns})
    table = join(run, known, videos).clips
    scores = decisions.to_frame(table)
    found = decisions.to_arrow(
        decisions.outcomes(decisions.freeze(policy, scores, makers(known)), scores, makers(known))
    )
    dropped: dict[str, dict[str, str]] = {}
    for video, row in zip(table["video_id"].to_pylist(), found.to_pylist(), strict=True):
        if row["outcome"] == "dropped":
            dropped.setdefault(video, {})[row["clip_id"]] = f"dropped by {', '.join(row['failed_filters'])}"
    return dropped


def _one_pass(
    run: RunDir, config: Config, names: tuple[str, ...], units: Sequence[StoredUnit], options: RunOptions
) -> Counter:
    totals: Counter = Counter()
    workers = _workers(config, names, options)
    engine = engine_of(options, workers, recycle=False)  # a network is loaded once per process
    task = StoredTask((), names, str(run.root), config, options.device, options.retry_errors)
    with options.progress(", ".join(names), sum(unit.n_clips for unit in units), "clips") as bar:
        failed = []
        for outcome in _outcomes(engine, [replace(task, units=group) for group in _groups(units, workers)], options):
            if outcome.status == "ok":
                _count(run, outcome.task, outcome.value, totals)
                bar.advance(sum(unit.n_clips for unit in outcome.task.units), f"{totals['error']} errors")
            else:
                failed.append(outcome.task)
        # What brought a process down is one clip of one video: the others are done again without it.
        alone = [replace(task, units=(unit,)) for one in failed for unit in one.units]
        for outcome in _outcomes(engine, alone, options) if alone else ():
            value = (
                outcome.value
                if outcome.status == "ok"
                else _failed(run, outcome.task, f"{outcome.status}: {outcome.message}")
            )
            _count(run, outcome.task, value, totals)
            bar.advance(outcome.task.units[0].n_clips, f"{totals['error']} errors")
    return totals


def _outcomes(engine: Engine, tasks: Sequence[StoredTask], options: RunOptions) -> Iterator:
    def deadline(task: StoredTask) -> float:
        clips = sum(unit.n_clips for unit in task.units) * len(task.annotators)
        return options.timeout_s or _TIMEOUT_S + _TIMEOUT_S_PER_CLIP * clips

    return engine.map(partial(annotate_stored, ready=Ready()), tasks, deadline, prepare_worker)


def _workers(config: Config, names: Sequence[str], options: RunOptions) -> int:
    """One process per GPU network; elsewhere as many as asked for, and as the annotators allow."""
    limits = [limit for name in names if (limit := config.annotators[name].max_workers) is not None]
    on_gpu = any(config.annotators[name].gpu > 0 for name in names) and resolve_device(options.device) != "cpu"
    return max(1, min([options.n_workers, *limits, *([1] if on_gpu else [])]))


def _groups(units: Sequence[StoredUnit], workers: int) -> Iterator[tuple[StoredUnit, ...]]:
    """Videos with some hundred clips together, fewer where the workers would not all get some."""
    most = min(_CLIPS_PER_TASK, -(-sum(unit.n_clips for unit in units) // (4 * workers)))
    group: list[StoredUnit] = []
    for unit in units:
        group.append(unit)
        if sum(member.n_clips for member in group) >= most:
            yield tuple(group)
            group = []
    if group:
        yield tuple(group)


def _failed(run: RunDir, task: StoredTask, message: str) -> dict[str, object]:
    """Error rows for what a video lacks; rows that are there stay. Returns what goes to run.jsonl."""
    prints, failed = task.config.fingerprints, 0
    for name in task.annotators:
        unit, columns = task.units[0], task.config.annotators[name].columns
        there = run.rows(prints.tables[name], unit.video_id, prints.annotations[name])
        old = {} if there is None else {row["clip_id"]: row for row in there.to_pylist()}
        clips = run.rows("clips", unit.video_id, prints.base)
        ids = [] if clips is None else clips["clip_id"].to_pylist()
        error = {**dict.fromkeys(columns), "status": "error", "error": message}
        rows = [
            error | {"clip_id": i} if wanted(old.get(i), unit.out_of_play, i, task.retry_errors) else old[i]
            for i in ids
        ]
        run.write(
            prints.tables[name],
            unit.video_id,
            prints.annotations[name],
            pa.Table.from_pylist(rows, annotation_schema(columns)),
        )
        failed += sum(row["error"] == message for row in rows)
    return {"status": "error", "units": 1, "stages": {}, "message": message, "ok": 0, "not_run": 0, "error": failed}


def _count(run: RunDir, task: StoredTask, value: Mapping, totals: Counter) -> None:
    append_event(run.events, {"pass": list(task.annotators), "videos": [unit.relpath for unit in task.units], **value})
    for status in ("ok", "error", "not_run"):
        totals[status] += value[status]
    for stage, seconds in value["stages"].items():
        totals[f"seconds {stage}"] += seconds
