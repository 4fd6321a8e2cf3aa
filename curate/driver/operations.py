"""What can be done with videos and runs, from plain arguments to the result. Commands and Python API call these.

Every mistake of the user is a UserError, one line, before any work. Who is told what: `RunOptions.tell`.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from clipmill.curate.common.device import check_device
from clipmill.curate.common.files import write_json
from clipmill.curate.common.log import say
from clipmill.curate.common.publish import settle
from clipmill.curate.common.settings import preset_names, title_of
from clipmill.curate.config import Config, load, load_tree
from clipmill.curate.contract.annotator_order import in_order
from clipmill.curate.driver import calibrate as calibration
from clipmill.curate.driver.finish import redecide
from clipmill.curate.driver.kept_export import BEFORE, asked_before, changed_by_export, kept_export
from clipmill.curate.driver.listing import Listing, list_inputs, listing_of
from clipmill.curate.driver.made_before import kept_cuts
from clipmill.curate.driver.pipeline import Work, curate, write_shards
from clipmill.curate.driver.policy_of_run import filtered_policy, kept_policy, policy_of, policy_stays, with_settings
from clipmill.curate.driver.preflight import preflight
from clipmill.curate.driver.run_facts import summary_lines
from clipmill.curate.driver.videos import (
    check_lost,
    check_sources,
    check_unchanged,
    now,
    prepare_out,
    tasks_of,
)
from clipmill.curate.engines.options import RunOptions
from clipmill.curate.errors import UserError
from clipmill.curate.export.enlarged import enlarged_text
from clipmill.curate.export.old_shards import remove_old_shards
from clipmill.curate.export.record import Exported, failures_text
from clipmill.curate.formats import check_format, write_format
from clipmill.curate.policy import decisions
from clipmill.curate.policy.policy import Policy, asked, check_columns, override, parse
from clipmill.curate.report import write_report
from clipmill.curate.tables.compact import Compacted
from clipmill.curate.tables.compact import compact as gather_parts
from clipmill.curate.tables.join import makers
from clipmill.curate.tables.run_dir import RunDir, changing
from clipmill.curate.tables.run_json import check_folder, config_of, open_manifest, read_manifest, read_run_json

_ENCODES = ("export.short_side_px", "export.fps")


@dataclass(frozen=True)
class Request:
    """How and when an operation was asked for, for run.json. command: a line that does the same."""

    command: str
    at: str = field(default_factory=now)
    clock_s: float = field(default_factory=time.monotonic)

    @property
    def times(self) -> dict[str, Any]:
        """For run.json, when it is written: now, and the seconds since it was asked."""
        return {"finished_at": now(), "seconds": round(time.monotonic() - self.clock_s, 2)}


def run(
    videos: Sequence[Path], out: Path, config: Config, options: RunOptions, export_: bool, request: Request
) -> None:
    """Curate the videos into `out`, which may hold an interrupted or older run. export_: write the kept clips."""
    check_device(options.device)
    config, message = kept_cuts(RunDir(out), config)
    work = Work(RunDir(out), preflight(config, tell=options.tell), options)
    if message:
        work.tell(message)
    assert work.engine is not None  # an unknown one is told before anything is written
    prepare_out(out)
    with changing(work.run, options.tell) as lease:
        complete(
            replace(work, lease=lease), lambda w: list_inputs(videos, w.run, options, w.config.inputs), export_, request
        )


def complete(work: Work, list_: Callable[[Work], Listing], export_: bool, request: Request) -> None:
    """All that makes a run whole, for whoever has it to himself: what is stale, tables, decisions, shards (export_),
    report.
    """
    config, message = kept_export(work.run, work.config)
    work = replace(work, config=config)
    if message:
        work.tell(message)
    listing = list_(work)
    check_lost(listing, work.run, work.config, work.options)
    policy, message = kept_policy(work.run, work.config)
    if message:
        work.tell(message)
    curate(work, listing, policy, partial(_told, work, listing.inputs, request))
    try:
        if export_:
            _export(work)
            _write_times(work.run, request)
    except UserError:
        _report(work)  # what was found out is worth its report, shards or not
        raise
    _report(work)


def own_config(run: RunDir) -> Config | None:
    """The configuration of a run that is there, where it is another one than a command without settings has; None
    elsewhere.
    """
    try:
        facts = read_run_json(run)
        # What `curate export` set since is looked after by `kept_export`.
        own = load_tree(facts["config"] | {"export": facts.get(BEFORE, facts["config"]["export"])})
    except UserError:  # none there, or one that was damaged
        return None
    return None if _settings(own) == _settings(load()) else own


def _settings(config: Config) -> str:
    return json.dumps(replace(config, found_weights={}).as_dict(), sort_keys=True, default=list)


def annotate(root: Path, names: Sequence[str], sets: Sequence[str], options: RunOptions, request: Request) -> None:
    """The run's configuration with these annotators added or changed; the rest stays, and so does the policy."""
    check_device(options.device)
    run_dir, options = RunDir(root), replace(options, keeps_rows=True)
    facts = read_run_json(run_dir)
    active = list(dict.fromkeys([*facts["config"]["annotators"], *names]))
    config = config_of(run_dir, [f"annotators={active}", *sets])
    policy = filtered_policy(run_dir)
    if policy is not None:
        policy = with_settings(policy, sets, config)
    work = Work(run_dir, preflight(config, in_order(names, config.annotators.__getitem__), options.tell), options)
    listing = listing_of(run_dir, facts["inputs"], work.config.inputs)
    tasks = tasks_of(listing, run_dir, work.config, options)
    check_sources(tasks, run_dir)
    check_unchanged(tasks, run_dir)
    prepare_out(root)
    with changing(run_dir):
        if policy is not None:
            work.tell(policy_stays(policy))
        curate(work, listing, policy, partial(_told, work, facts["inputs"], request))
        _report(work)


def filter_(root: Path, preset: str | None, sets: Sequence[str], name: str | None) -> decisions.Outcomes:
    """Decide the run again. preset: a preset's policy or that of a .toml file, None: the run's own. sets: with or
    without `policy.` before the column. name: of the decisions, None: the policy's.
    """
    run_dir = RunDir(root)
    config = config_of(run_dir)
    policy = _chosen(run_dir, config, preset, name)
    columns = [*open_manifest(run_dir).column_names, *makers(config)]
    policy = override(policy, [s.removeprefix("policy.") for s in sets])
    check_columns(policy, columns, root)
    with changing(run_dir):
        return redecide(run_dir, config, policy)


def _chosen(run: RunDir, config: Config, preset: str | None, name: str | None) -> Policy:
    """The policy of a preset, of a file, of earlier decisions of this run by their name, or (None) the run's own."""
    if preset in decisions.saved(run.root) and preset not in preset_names():
        active, _, _ = decisions.load(run.root, preset)
        return parse(name or active.name, asked(active))
    source = config if preset is None else load(preset)
    return policy_of(source, name or (title_of(preset) if preset else None))


def export(
    root: Path, sets: Sequence[str], options: RunOptions, format_: str = "", format_out: Path | None = None
) -> Exported:
    """The kept clips as shards, verified by decoding. sets: settings of `export`, with or without that word. format_:
    another layout of the same clips, written to `format_out`; "" for none.
    """
    check_format(format_, format_out)
    run_dir = RunDir(root)
    work = Work(run_dir, _export_config(run_dir, sets), options)
    facts = read_run_json(run_dir)
    facts = changed_by_export(facts, work.config)
    prepare_out(root)
    with changing(run_dir):
        done = _export(work, facts)
        if done.failed and not done.clips:
            raise UserError(f"no shards: {failures_text(done.failed, done.reasons)}")
    if format_:
        work.tell(write_format(run_dir, format_, format_out, options.tell).text)
    return done


def calibrate(
    root: Path, axis: str, drops: Sequence[float], side: str, base: str, options: RunOptions
) -> list[calibration.Subset]:
    """Subsets of the run that differ in one threshold. drops: shares in (0, 1). side: auto, lowest or highest. base:
    filters for all of them: a preset, a .toml file, run (its own policy) or none.
    """
    run_dir = RunDir(root)
    work = Work(run_dir, config_of(run_dir), options)
    filters = (
        Policy("none") if base == "none" else policy_of(work.config if base == "run" else load(base), title_of(base))
    )
    question = calibration.Question(axis, calibration.side_of(side, work.config, axis), filters)
    with changing(run_dir):
        return calibration.calibrate(work, question, drops)


def compact(root: Path) -> Compacted:
    """Gather the parts of a run's tables in few files."""
    run_dir = RunDir(root)
    check_folder(run_dir)
    with changing(run_dir):
        return gather_parts(run_dir, say)


def report(root: Path) -> Path:
    """Write RUN/report.html again; its path."""
    read_run_json(RunDir(root))
    return write_report(root)


def _told(work: Work, inputs: Sequence[str], request: Request, totals: Counter[str]) -> dict[str, Any]:
    """What run.json says of how and when it was made."""
    stages = {k.removeprefix("seconds "): round(v, 3) for k, v in totals.items() if k.startswith("seconds ")}
    told: dict[str, Any] = {"command": request.command, "inputs": list(inputs), "started_at": request.at}
    told |= request.times | {"workers": work.options.n_workers}
    return (
        told
        | asked_before(work.run, work.config)
        | {
            "processed": {
                "videos": totals["videos"],
                "frames_decoded": totals["frames_decoded"],
                "stage_seconds": stages,
            }
        }
    )


def _write_times(run: RunDir, request: Request) -> None:
    """What came after run.json was written, the export, took its time, too."""
    settle(run.root)
    write_json(run.run_json, read_run_json(run) | request.times, synced=True)


def _report(work: Work) -> None:
    facts = read_run_json(work.run)
    path = write_report(work.run.root)
    for line in summary_lines(facts["counts"], facts.get("failed_scores", {})):
        work.tell(line)
    work.tell(f"report: {path}")


def _export(work: Work, facts: Mapping[str, Any] | None = None) -> Exported:
    policy, _, _ = decisions.load(work.run.root, read_run_json(work.run)["policy"])
    done = write_shards(work, policy, facts)
    if not remove_old_shards(work.run):
        work.tell("the shards of the earlier export stay while they are read; the next `curate export` removes them")
    work.tell(done.text)
    if line := enlarged_text(read_manifest(work.run, ["width", "height", "shard"]), work.config.export):
        work.tell(line)
    return done


def _export_config(run: RunDir, sets: Sequence[str]) -> Config:
    """The run's configuration with these settings. A size or a rate ends a copy that an earlier export asked for: it
    needs encoding.

    Raises UserError where these settings ask for both.
    """
    named = [s if s.startswith("export.") else f"export.{s}" for s in sets]
    encodes = any(text.partition("=")[0].strip() in _ENCODES for text in named)
    config = config_of(run, [*(["export.copy=false"] if encodes else []), *named])
    if encodes and config.export.copy:
        raise UserError(
            "--copy takes the source's pictures as they are, in their size and rate: leave out --copy, or --size and"
            " --fps"
        )
    return config
