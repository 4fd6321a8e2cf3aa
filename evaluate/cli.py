"""The command `evaluate`. Only argument parsing lives here; heavy imports happen inside the commands."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from clipmill.curate.common.console import new_app, run_app
from clipmill.evaluate.cli_options import (
    SET,
    Batch,
    By,
    Cache,
    Clips,
    Device,
    Fake,
    FakeSet,
    Features,
    Out,
    ProtocolName,
    Real,
    RealSet,
    Set,
    Weights,
    Where,
    Workers,
)
from clipmill.evaluate.questions import compare, over_time, power, reconstruct

app = new_app("evaluate", "Score videos: FVD, KVD and others, each number with its protocol and its error bar.")


def _one_metric(metric: str) -> Callable[..., None]:
    """The command that computes one metric; fvd and kvd differ in nothing else."""

    def command(
        real: Real,
        fake: Fake,
        protocol: ProtocolName = "clipmill",
        features: Features = None,
        set_: Set = None,
        real_set: RealSet = None,
        fake_set: FakeSet = None,
        weights: Weights = None,
        where: Where = None,
        out: Out = None,
        device: Device = "auto",
        batch: Batch = 8,
        workers: Workers = 2,
        cache: Cache = None,
        clips: Clips = None,
        by: By = None,
    ) -> None:
        own = (real_set, fake_set)
        run(
            real,
            fake,
            metric,
            protocol,
            features,
            set_,
            *own,
            weights=weights,
            where=where,
            out=out,
            device=device,
            batch=batch,
            workers=workers,
            cache=cache,
            clips=clips,
            by=by,
        )

    return command


@app.command(epilog="Example: evaluate run RUN samples/ --metrics fvd,kvd,precision,recall,flicker --features mini")
def run(
    real: Real,
    fake: Fake,
    metrics: Annotated[str, typer.Option(metavar="NAME,...", help="`evaluate metrics` lists them.")] = "fvd,kvd",
    protocol: ProtocolName = "clipmill",
    features: Features = None,
    set_: Set = None,
    real_set: RealSet = None,
    fake_set: FakeSet = None,
    weights: Weights = None,
    where: Where = None,
    out: Out = None,
    device: Device = "auto",
    batch: Batch = 8,
    workers: Workers = 2,
    cache: Cache = None,
    clips: Clips = None,
    by: By = None,
) -> None:
    """Several metrics from one decode."""
    from clipmill.evaluate import commands

    options = commands.Options(
        protocol,
        features,
        set_ or [],
        weights,
        where,
        out,
        device,
        batch,
        workers,
        cache,
        real_set or [],
        fake_set or [],
        clips,
        by,
    )
    commands.score([m.strip() for m in metrics.split(",") if m.strip()], real, fake, options)


app.command(
    "fvd",
    help="Fréchet Video Distance, its standard error, and its extrapolation to infinitely many clips.",
    epilog=(
        "Example: evaluate fvd RUN samples/ --protocol original --weights rgb_scratch/model.ckpt --out scores.parquet"
    ),
)(_one_metric("fvd"))
app.command("kvd", help="Kernel Video Distance: unbiased MMD^2 with the cubic kernel; no bias in the number of clips.")(
    _one_metric("kvd")
)


@app.command()
def stats(
    videos: Annotated[str, typer.Argument(metavar="SET", help=f"Reference set: {SET}.")],
    out: Annotated[Path, typer.Option(metavar="FILE.npz", help="Where the statistics go.")],
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
    """Features of a reference set in one file, to be given as REAL later, without the videos."""
    from clipmill.evaluate import commands

    commands.stats(
        videos,
        out,
        commands.Options(protocol, features, set_ or [], weights, where, None, device, batch, workers, cache),
    )


app.command("compare", epilog="Example: evaluate compare model_a/ model_b/ --real RUN --features mini")(compare.command)
app.command("power", epilog="Example: evaluate power model_a/ model_b/ --real RUN --difference 20")(power.command)
app.command("reconstruct", epilog="Example: evaluate reconstruct originals/ decoded/ --chunk 4 --features mini")(
    reconstruct.command
)
app.command("over-time", epilog="Example: evaluate over-time long/ --real RUN --windows 8 --features mini")(
    over_time.command
)


@app.command(epilog="Example: evaluate report scores.parquet")
def report(
    scores: Annotated[Path, typer.Argument(metavar="SCORES", help="File written with --out.")],
    out: Annotated[Path | None, typer.Option(metavar="PAGE", help="HTML file; default: beside SCORES.")] = None,
) -> None:
    """One page that tells where the numbers come from: data, training, samples, scores, and the commands of each
    step.
    """
    from clipmill.evaluate import commands

    commands.report(scores, out)


@app.command()
def degrade(
    videos: Annotated[str, typer.Argument(metavar="SET", help=f"Clean videos: {SET}.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the table and the plot go.")] = Path("degrade"),
    clips: Annotated[int, typer.Option(min=8, help="Clips to use.")] = 64,
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
    """The sanity study: how the distance grows with noise, blur, swapped and frozen frames; table and plot."""
    from clipmill.evaluate import commands

    options = commands.Options(protocol, features, set_ or [], weights, where, None, device, batch, workers, cache)
    commands.degrade(videos, out, clips, options)


@app.command(name="check-weights")
def check_weights(
    weights: Annotated[Path, typer.Argument(metavar="FILE", help="Any I3D weight file or checkpoint.")],
) -> None:
    """Prove, tensor by tensor, whether a file holds the network that FVD is defined on."""
    from clipmill.evaluate import commands

    commands.check_weights(weights)


@app.command()
def selftest(weights: Weights = None) -> None:
    """Known numbers: of the metrics, of the network with seeded weights, and, with --weights, those its authors
    published.
    """
    from clipmill.evaluate import commands

    commands.selftest(weights)


@app.command()
def protocols() -> None:
    """List the protocols and what they fix."""
    from clipmill.evaluate import commands

    commands.protocols()


@app.command()
def metrics() -> None:
    """List the metrics and the feature networks."""
    from clipmill.evaluate import commands

    commands.metrics()


def main() -> None:
    """Entry point: a user's mistake is one line on stderr and exit code 2."""
    run_app(app, "evaluate")


if __name__ == "__main__":
    main()
