"""What each command does: an operation of `driver.operations`, then its result in words. What is told meanwhile goes
through `RunOptions.tell`.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from clipmill.curate.common.console import command_line
from clipmill.curate.common.log import DownloadLines, say
from clipmill.curate.common.package_files import read_file
from clipmill.curate.common.settings import preset_names, title_of
from clipmill.curate.config import Config, load
from clipmill.curate.driver import operations
from clipmill.curate.driver.finish import empty_splits, n_exported_not_kept
from clipmill.curate.driver.operations import Request
from clipmill.curate.driver.run_facts import outcome_counts
from clipmill.curate.engines.options import RunOptions
from clipmill.curate.errors import UserError, closest
from clipmill.curate.policy import decisions
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import config_of, read_manifest, read_run_json


def run(
    videos: Sequence[Path], out: Path, preset: str | None, sets: Sequence[str], options: RunOptions, export_: bool
) -> None:
    """`curate run`."""
    operations.run(videos, out, _asked(out, preset, sets), options, export_, Request(command_line("curate")))


def _asked(out: Path, preset: str | None, sets: Sequence[str]) -> Config:
    """The configuration of a command; where it says nothing of it, that of the run that is there."""
    own = operations.own_config(RunDir(out)) if preset is None and not sets else None
    if own is None:
        return load(preset or "default", sets)
    say(f"settings of {out} stay (preset {title_of(own.preset)}, with its changes): --preset or --set gives others")
    return own


def run_part(
    videos: Sequence[Path],
    out: Path,
    preset: str | None,
    sets: Sequence[str],
    options: RunOptions,
    part: str,
    dry_run_: bool = False,
) -> None:
    """`curate run --part`."""
    from clipmill.curate.driver import part_run
    from clipmill.curate.parts.part import part_of

    if dry_run_:
        raise UserError("--dry-run estimates the whole: leave out --part")
    part_run.run_part(videos, out, _asked(out, preset, sets), options, part_of(part), Request(command_line("curate")))


def finish(root: Path, options: RunOptions, export_: bool) -> None:
    """`curate finish`."""
    from clipmill.curate.driver import part_run

    part_run.finish(root, options, export_, Request(command_line("curate")))


def status(root: Path, as_json: bool) -> None:
    """`curate status`."""
    from clipmill.curate.parts import status as found

    if as_json:
        for row in found.as_json(found.part_statuses(root)):
            say(json.dumps(row))
    else:
        for line in found.status_lines(root):
            say(line)


def annotate(root: Path, only: str, sets: Sequence[str], options: RunOptions) -> None:
    """`curate annotate`."""
    names = [n.strip() for n in only.split(",") if n.strip()]
    if not names:
        raise UserError("--only names no annotator, for example --only aesthetics,clip_similarity")
    operations.annotate(root, names, sets, options, Request(command_line("curate")))


def filter_(root: Path, preset: str | None, sets: Sequence[str], name: str | None) -> None:
    """`curate filter`."""
    from rich.console import Console

    from clipmill.curate.policy import waterfall

    before = read_run_json(RunDir(root))["policy"]
    outcomes = operations.filter_(root, preset, sets, name)
    Console().print(waterfall.render(waterfall.waterfall(outcomes), waterfall.joint(outcomes)))
    counts = outcome_counts(outcomes)
    say(f"{counts['clips']} clips: {counts['kept']} kept; saved as decisions/{outcomes.policy.name}.parquet")
    for line in empty_splits(read_manifest(RunDir(root), ["split"]), outcomes, config_of(RunDir(root))):
        say(line)
    if outcomes.policy.name != before:
        own = before == title_of(config_of(RunDir(root)).preset)
        back = f"`curate filter {root}{'' if own else f' --policy {before}'}` goes back"
        say(f"policy {outcomes.policy.name} decides the run from now on, where {before} did; {back}")
    if outdated := n_exported_not_kept(RunDir(root)):
        say(f"the shards still hold {outdated} clips that this policy does not keep, until the next `curate export`")
    say(f"next: curate report {root}   curate export {root}")


def compact(root: Path) -> None:
    """`curate compact`."""
    done = operations.compact(root)
    say(f"{done.before} files of the run's tables before, {done.after} now")


def estimate(clips: str, hours: str, run: Path | None, file: Path | None, sets: Sequence[str]) -> None:
    """`curate estimate`."""
    from clipmill.curate.costs.estimate import clips_in, lines_of
    from clipmill.curate.costs.rates import rates_of

    rates = rates_of(run, file, sets)
    try:
        number = clips_in(clips, hours, rates)
    except ValueError as error:
        raise UserError(f"--clips, --hours: {error}") from error
    for line in lines_of(number, rates):
        say(line)


def use(root: Path, name: str) -> None:
    """`curate use`."""
    saved = decisions.saved(root)
    if name not in saved:
        raise UserError(f"no decisions of policy {name!r} in {root}{closest(name, saved)}")
    filter_(root, name, [], None)


def calibrate(root: Path, axis: str, drop: str, side: str, base: str, options: RunOptions) -> None:
    """`curate calibrate`."""
    subsets = operations.calibrate(root, axis, _shares(drop), side, base, options)
    for subset in subsets:
        limit = f"{axis} {'>=' if subset.side == 'lowest' else '<='} {subset.threshold:.4g}"
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
    say(f"report: {operations.report(root)}")


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

    from clipmill.curate.common.log import visible
    from clipmill.curate.report.clip_text import describe

    Console(soft_wrap=True).print(visible(describe(root, clip_id)), markup=False, highlight=False)


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


def demo(folder: Path, minutes: float | None, seed: int) -> None:
    """`curate demo`. minutes: None for the videos of every kind of cut."""
    from clipmill.curate.demo import render
    from clipmill.curate.demo.cut_set import render_cuts

    truth = render_cuts(folder, seed, say) if minutes is None else render(folder, minutes, seed, say)
    say(f"demo videos: {folder}; truth: {truth}")


def dry_run(videos: Sequence[Path], preset: str | None, sets: Sequence[str], options: RunOptions) -> None:
    """`curate run --dry-run`."""
    from clipmill.curate.driver.dry_run import estimate

    for line in estimate(videos, load(preset or "default", sets), options):
        say(line)
