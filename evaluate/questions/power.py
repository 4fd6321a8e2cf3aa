"""`evaluate power`: how many clips it takes to see a difference."""

from dataclasses import replace
from typing import Annotated

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


def command(
    sets: Annotated[list[str], typer.Argument(metavar="A [B]", help="Clips to learn from how far a number scatters.")],
    real: AgainstReal = None,
    difference: Annotated[
        float | None, typer.Option(help="The difference to see, in the metric's unit; default: the one of A and B.")
    ] = None,
    metrics: Metrics = "fvd,kvd",
    pair: Pair = "auto",
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
    """How many clips are needed to see a difference, four times of five at 5 %, from the scatter of the clips of A and
    B; of A alone, for another set like it.
    """
    from clipmill.curate.common.log import say
    from clipmill.evaluate import commands
    from clipmill.evaluate.questions.gathering import gather, raise_problems, study_settings
    from clipmill.evaluate.versus import words
    from clipmill.evaluate.versus.study import tests

    if len(sets) > 2:
        raise UserError(f"power learns from one set or two, not from {len(sets)}")
    if difference is not None and difference == 0:
        raise UserError("--difference is how large a difference is to be seen: it is not 0")
    options = commands.Options(protocol, features, set_ or [], weights, where, None, device, batch, workers, cache)
    settings = study_settings("none" if len(sets) == 1 else pair, 0, options)
    found = gather(sets, real, [name.strip() for name in metrics.split(",") if name.strip()], options)
    gathered, names = list(found.gathered), list(found.names)
    if len(sets) == 1:
        gathered, names = gathered * 2, [names[0], "another set like it"]
    results, problems = tests(names, gathered, replace(settings, fixed_real=True), lambda: None)
    for line in words.power_lines(results, difference):
        say(line)
    raise_problems({**found.problems, **problems}, len(found.problems) + len(found.gathered[0]))
