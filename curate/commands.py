"""What each command does, in the order a person would tell it. Words to the user are printed here and nowhere below."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clipmill.curate.common.console import command_line
from clipmill.curate.common.device import check_device
from clipmill.curate.common.files import write_json
from clipmill.curate.common.lock import alone
from clipmill.curate.common.log import DownloadLines, say
from clipmill.curate.common.package_files import read_file
from clipmill.curate.common.settings import preset_names, title_of
from clipmill.curate.config import Config, load
from clipmill.curate.contract.annotator_order import in_order
from clipmill.curate.driver.finish import finish, n_exported_not_kept, redecide
from clipmill.curate.driver.policy_of_run import filtered_policy, kept_policy, policy_of, policy_stays, with_settings
from clipmill.curate.driver.preflight import preflight
from clipmill.curate.driver.run_facts import outcome_counts, run_facts, summary_lines
from clipmill.curate.driver.stored_passes import run_passes
from clipmill.curate.driver.videos import (
    Listing,
    check_sources,
    list_inputs,
    now,
    prepare_out,
    process,
    refresh_videos,
    tasks_of,
    write_unprocessed,
)
from clipmill.curate.engines import Engine
from clipmill.curate.engines.options import RunOptions
from clipmill.curate.errors import UserError, closest
from clipmill.curate.export.record import Exported, failures_text
from clipmill.curate.policy.decisions import Outcomes
from clipmill.curate.policy.policy import Policy, asked, check_columns
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import config_of, read_manifest, read_run_json


def make_engine(name: str, options: RunOptions) -> Engine:
    """The engine called `name`. Raises UserError for an unknown one."""
    if name != "local":
        raise UserError(f"no engine called {name!r}; there is: local")
    from clipmill.curate.engines.local import LocalEngine

    return LocalEngine(options.n_workers)


def run(
    videos: Sequence[Path],
    out: Path,
    preset: str,
    sets: Sequence[str],
    engine_name: str,
    options: RunOptions,
    export_: bool,
) -> None:
    """`curate run`."""
    began, started_at = time.monotonic(), now()
    check_device(options.device)
    config = preflight(load(preset, sets))
    engine = make_engine(engine_name, options)
    run_dir = prepare_out(out)
    with alone(run_dir.root):
        listing = list_inputs(videos, run_dir, options.n_workers)
        told = {"command": command_line("curate"), "inputs": list(listing.inputs), "started_at": started_at}
        policy, message = kept_policy(run_dir, config)
        if message:
            say(message)
        _curate(listing, run_dir, config, policy, engine, options, told, began)
        try:
            if export_:
                _export(run_dir, config, engine, options)
        except UserError:
            _close(run_dir)  # what was found out is worth its report, shards or not
            raise
        _close(run_dir)


def _curate(
    listing: Listing,
    run_dir: RunDir,
    config: Config,
    policy: Policy | None,
    engine: Engine,
    options: RunOptions,
    told: dict[str, Any],
    began: float,
) -> Outcomes:
    """policy: what decides, None: the configuration's."""
    tasks = tasks_of(listing, run_dir, config, options)
    if len(tasks) < len(listing.units):
        say(f"{len(listing.units) - len(tasks)} of {len(listing.units)} videos are up to date")
    totals = process(tasks, engine, run_dir, options)
    write_unprocessed(listing, run_dir)
    for warning in refresh_videos(listing, run_dir, config):
        say(f"warning: {warning}")
    # What `--lazy` leaves out is what this policy drops, not what the configuration's would.
    in_play = config if policy is None else replace(config, policy=asked(policy))
    totals += run_passes(run_dir, in_play, listing.names, options)
    joined, found = finish(run_dir, config, [s.video_id or "" for s in listing.units], policy)
    for message in joined.messages:
        say(message)
    stages = {k.removeprefix("seconds "): round(v, 3) for k, v in totals.items() if k.startswith("seconds ")}
    told |= {"finished_at": now(), "seconds": round(time.monotonic() - began, 2), "workers": options.n_workers}
    told |= {
        "processed": {"videos": totals["videos"], "frames_decoded": totals["frames_decoded"], "stage_seconds": stages}
    }
    write_json(run_dir.run_json, run_facts(config, joined, found, told))
    return found


def _close(run_dir: RunDir) -> None:
    from clipmill.curate.report import write_report

    facts = read_run_json(run_dir)
    path = write_report(run_dir.root)
    for line in summary_lines(facts["counts"], facts.get("failed_scores", {})):
        say(line)
    say(f"report: {path}")


def annotate(root: Path, only: str, sets: Sequence[str], options: RunOptions) -> None:
    """`curate annotate`: the run's configuration with these annotators added or changed; the rest stays, and so does
    the policy.
    """
    from clipmill.curate.driver.videos import listing_of

    began, started_at = time.monotonic(), now()
    check_device(options.device)
    run_dir = RunDir(root)
    facts = read_run_json(run_dir)
    before = facts["config"]["annotators"]
    names = [n.strip() for n in only.split(",") if n.strip()]
    if not names:
        raise UserError("--only names no annotator, for example --only aesthetics,clip_similarity")
    active = list(dict.fromkeys([*before, *names]))
    config = config_of(run_dir, [f"annotators={active}", *sets])
    policy = filtered_policy(run_dir)
    if policy is not None:
        policy = with_settings(policy, sets, config)
    config = preflight(config, in_order(names, config.annotator))
    listing = listing_of(run_dir, facts["inputs"])
    check_sources(tasks_of(listing, run_dir, config, options), run_dir)
    prepare_out(root)
    with alone(root):
        if policy is not None:
            say(policy_stays(policy))
        told = {"command": command_line("curate"), "inputs": facts["inputs"], "started_at": started_at}
        _curate(listing, run_dir, config, policy, make_engine("local", options), options, told, began)
        _close(run_dir)


def filter_(root: Path, preset: str | None, sets: Sequence[str], name: str | None) -> None:
    """`curate filter`."""
    from rich.console import Console

    from clipmill.curate.policy import waterfall
    from clipmill.curate.policy.policy import override
    from clipmill.curate.tables.join import makers

    run_dir = RunDir(root)
    config = config_of(run_dir)
    source = config if preset is None else load(preset)
    policy = policy_of(source, name or (title_of(preset) if preset else None))
    columns = [*read_manifest(run_dir).column_names, *makers(config)]
    policy = override(policy, [s.removeprefix("policy.") for s in sets])
    check_columns(policy, columns, root)
    with alone(root):
        found = redecide(run_dir, config, policy)
    Console().print(waterfall.render(waterfall.waterfall(found), waterfall.joint(found)))
    counts = outcome_counts(found)
    say(f"{counts['clips']} clips: {counts['kept']} kept; saved as decisions/{policy.name}.parquet")
    if outdated := n_exported_not_kept(run_dir):
        say(f"the shards still hold {outdated} clips that this policy does not keep, until the next `curate export`")
    say(f"next: curate report {root}   curate export {root}")


def export(
    root: Path,
    size: int | None,
    fps: float | None,
    copy: bool | None,
    sets: Sequence[str],
    options: RunOptions,
    format_: str = "",
    out: Path | None = None,
) -> None:
    """`curate export`. size, fps, copy: None keeps the run's setting. format_: another layout of the same clips,
    written to `out`; "" for none.
    """
    from clipmill.curate.formats import check_format, write_format

    check_format(format_, out)
    run_dir = RunDir(root)
    config = _export_config(run_dir, size, fps, copy, sets)
    facts = read_run_json(run_dir)
    facts["config"] = config.as_dict()
    prepare_out(root)
    with alone(root):
        done = _export(run_dir, config, make_engine("local", options), options)
        if done.failed and not done.clips:
            raise UserError(f"no shards: {failures_text(done.failed, done.reasons)}")
        write_json(run_dir.run_json, facts)
    if format_:
        say(write_format(run_dir, format_, out).text)


def _export_config(
    run_dir: RunDir, size: int | None, fps: float | None, copy: bool | None, sets: Sequence[str]
) -> Config:
    """The run's configuration with the command's options. A size or a rate ends a copy that an earlier export asked
    for: it needs encoding.

    Raises UserError where this command asks for both.
    """
    named = [s if s.startswith("export.") else f"export.{s}" for s in sets]
    chosen = [f"export.{key}={value}" for key, value in (("short_side_px", size), ("fps", fps)) if value is not None]
    encodes = any(
        text.partition("=")[0].strip() in ("export.short_side_px", "export.fps") for text in (*chosen, *named)
    )
    copies = False if copy is None and encodes else copy
    chosen += [] if copies is None else [f"export.copy={str(copies).lower()}"]
    config = config_of(run_dir, [*chosen, *named])
    if encodes and config.export.copy:
        raise UserError(
            "--copy takes the source's pictures as they are, in their size and rate: leave out --copy, or --size and"
            " --fps"
        )
    return config


def _export(run_dir: RunDir, config: Config, engine: Engine, options: RunOptions) -> Exported:
    from clipmill.curate.export.driver import export as export_shards
    from clipmill.curate.policy.decisions import load as load_decisions
    from clipmill.curate.policy.policy import policy_id

    policy, _, _ = load_decisions(run_dir.root, read_run_json(run_dir)["policy"])
    done = export_shards(run_dir, config.export, policy_id(policy), engine, options)
    say(done.text)
    return done


def calibrate(root: Path, axis: str, drop: str, side: str, base: str, options: RunOptions) -> None:
    """`curate calibrate`."""
    from clipmill.curate.driver import calibrate as calibration
    from clipmill.curate.policy.policy import Policy

    run_dir = RunDir(root)
    config = config_of(run_dir)
    if side not in ("auto", "lowest", "highest"):
        raise UserError(f"--side is auto, lowest or highest, not {side!r}")
    chosen: calibration.Side = (
        calibration.default_side(config, axis) if side == "auto" else "lowest" if side == "lowest" else "highest"
    )
    filters = Policy("none") if base == "none" else policy_of(config if base == "run" else load(base), title_of(base))
    engine = make_engine("local", options)
    with alone(root):
        subsets = calibration.calibrate(run_dir, config, axis, _shares(drop), filters, chosen, engine, options)
    for subset in subsets:
        limit = f"{axis} {'>=' if chosen == 'lowest' else '<='} {subset.threshold:.4g}"
        say(f"{subset.folder}: {subset.clips} clips, {subset.seconds:.0f} s, {limit}")
    say(f"next: models train {subsets[-1].folder} --config NAME --out CKPT, for each folder, with the same settings")


def _shares(percents: str) -> list[float]:
    try:
        shares = [float(text) / 100 for text in percents.split(",")]
    except ValueError as error:
        raise UserError(f"--drop takes percentages between commas, such as 12.5,25,50; got {percents!r}") from error
    if not all(0 < share < 1 for share in shares):
        raise UserError(f"--drop takes percentages above 0 and below 100; got {percents!r}")
    return shares


def report(root: Path) -> None:
    """`curate report`."""
    from clipmill.curate.report import write_report

    read_run_json(RunDir(root))
    say(f"report: {write_report(root)}")


def cuts(root: Path, sets: Sequence[str]) -> None:
    """`curate cuts`: cuts and clips under other thresholds, beside those of the run."""
    from rich.console import Console

    from clipmill.curate.driver.compare_cuts import compare_cuts, render

    run_dir = RunDir(root)
    prefixed = [s if s.startswith("scenes.") else f"scenes.{s}" for s in sets]
    table = compare_cuts(run_dir, config_of(run_dir), config_of(run_dir, prefixed))
    Console().print(render(table))


def inspect(root: Path, clip_id: str) -> None:
    """`curate inspect`."""
    from rich.console import Console

    from clipmill.curate.report.clip_text import describe

    Console(soft_wrap=True).print(describe(root, clip_id), markup=False, highlight=False)


def presets(chosen: str) -> None:
    """`curate presets`."""
    names = preset_names()
    if chosen and chosen not in names:
        raise UserError(f"there is no preset {chosen!r}{closest(chosen, names)}")
    for name in [chosen] if chosen else names:
        text = read_file("clipmill.curate.presets", f"{name}.toml")
        about = next((line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("#")), "")
        say(text.rstrip() if chosen else f"{name:24} {about}")
    if not chosen:
        say("`curate presets NAME` shows one in full; each lies over the default preset")


def list_weights() -> None:
    """`curate weights list`."""
    from clipmill.curate import weights

    for line in weights.list_lines():
        say(line)
    say(f"cache folder: {weights.cache_folder()} (CLIPMILL_WEIGHTS)")


def pull_weights(names: Sequence[str]) -> None:
    """`curate weights pull`."""
    from clipmill.curate import weights
    from clipmill.curate.driver.preflight import pull_names

    wanted = list(dict.fromkeys(name for given in names for name in pull_names(given)))
    if not wanted:
        say("nothing to pull: no annotator of these presets needs weights")
    for name in wanted:
        say(f"{name}: {weights.pull(name, DownloadLines())}")


def print_weights_path(name: str) -> None:
    """`curate weights path`."""
    from clipmill.curate import weights

    path = weights.find(name, {}) if name else weights.cache_folder()
    if path is None:
        raise UserError(f"{name} is not on this machine: `curate weights pull {name}`")
    say(str(path))


def doctor() -> None:
    """`curate doctor`: exit code 1 where something needs mending."""
    from clipmill.curate.doctor import diagnose, render

    checks = diagnose()
    from rich.console import Console

    Console().print(render(checks))
    if any(check.status == "fail" for check in checks):
        sys.exit(1)


def demo(folder: Path, minutes: float, seed: int) -> None:
    """`curate demo`."""
    from clipmill.curate.demo import render

    truth = render(folder, minutes, seed, say)
    say(f"demo videos: {folder}; truth: {truth}")


def dry_run(videos: Sequence[Path], preset: str, sets: Sequence[str], options: RunOptions) -> None:
    """`curate run --dry-run`."""
    from clipmill.curate.driver.dry_run import estimate

    check_device(options.device)
    config = preflight(load(preset, sets))
    for line in estimate(videos, config, make_engine("local", options), options):
        say(line)
