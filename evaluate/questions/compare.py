"""`evaluate compare`: numbers of a file side by side, or sets against the same real videos."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipmill.curate.errors import UserError
from clipmill.evaluate.cli_options import (
    AgainstReal,
    Batch,
    Cache,
    Device,
    Features,
    Metrics,
    Pair,
    ProtocolName,
    Set,
    Weights,
    Where,
    Workers,
)

if TYPE_CHECKING:
    from clipmill.evaluate.commands import Options

Draws = Annotated[int, typer.Option(min=19, help="Permutations of each test: p is never below 2 / (draws + 1).")]


def command(
    sets: Annotated[
        list[str], typer.Argument(metavar="SCORES | A B ...", help="A file written with --out; or the sets to compare.")
    ],
    force: Annotated[bool, typer.Option("--force", help="Put numbers side by side whose fingerprints differ.")] = False,
    real: AgainstReal = None,
    metrics: Metrics = "fvd,kvd",
    pair: Pair = "auto",
    draws: Draws = 999,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write the tests there.")] = None,
    protocol: ProtocolName = "clipmill",
    features: Features = None,
    set_: Set = None,
    weights: Weights = None,
    where: Where = None,
    device: Device = "auto",
    batch: Batch = 8,
    workers: Workers = 2,
    cache: Cache = None,
) -> None:
    """Is A better than B? Two sets and more are tested, pair by pair, against the same real videos. One file of scores
    is put in order: tables of numbers that may be compared, and the fields that differ where they may not.
    """
    from clipmill.evaluate import commands

    if len(sets) == 1 and real is None:
        commands.compare(Path(sets[0]), force)
        return
    if len(sets) < 2:
        raise UserError("compare takes a file of scores, or two sets and more: evaluate compare A B --real REAL")
    options = commands.Options(protocol, features, set_ or [], weights, where, None, device, batch, workers, cache)
    names = [name.strip() for name in metrics.split(",") if name.strip()]
    _compare(sets, real, names, options, (pair, draws, out))


def _compare(
    sets: Sequence[str],
    real: str | None,
    metrics: Sequence[str],
    options: "Options",
    how: tuple[str, int, Path | None],
) -> None:
    from clipmill.curate.common.console import command_line
    from clipmill.curate.common.files import write_text
    from clipmill.curate.common.log import progress, say
    from clipmill.evaluate.output_paths import check_file
    from clipmill.evaluate.questions.gathering import gather, raise_problems, study_settings
    from clipmill.evaluate.versus import words
    from clipmill.evaluate.versus.study import tests

    pair, draws, out = how
    if out is not None:
        check_file(out, "tests.json")
    settings = study_settings(pair, draws, options)
    found = gather(sets, real, metrics, options)
    total = draws * len(found.gathered[0]) * len(sets) * (len(sets) - 1) // 2
    with progress("tests", total, "permutations", say) as bar:
        results, problems = tests(found.names, found.gathered, settings, bar.advance)
    for line in words.lines(results) if results else ():
        say(line)
    for line in found.warnings:
        say(f"warning: {line}")
    if out is not None:
        record = {"command": command_line("evaluate"), "facts": found.facts, "draws": draws}
        write_text(out, json.dumps(record | {"tests": [words.record(test) for test in results]}, indent=1))
        say(f"written to {out}")
    raise_problems({**found.problems, **problems}, len(metrics))
