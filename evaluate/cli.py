"""The command `evaluate`. Only argument parsing lives here; heavy imports happen inside the commands."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from clipmill.curate.common.console import new_app, run_app

app = new_app("evaluate", "Score videos: FVD, KVD and others, each number with its protocol and its error bar.")

_SET = (
    "a folder of videos or of frame folders, a curate run, a manifest, a glob of videos or tars, a .txt with a path a"
    " line, an .npy or .npz, or statistics"
)
Real = Annotated[str, typer.Argument(metavar="REAL", help=f"Reference set: {_SET}.")]
Fake = Annotated[str, typer.Argument(metavar="FAKE", help="Set to score, of the same kinds.")]
ProtocolName = Annotated[str, typer.Option("--protocol", metavar="NAME", help="`evaluate protocols` lists them.")]
Features = Annotated[
    str | None, typer.Option(metavar="NAME", help="Feature network instead of the protocol's: mini, i3d-random, ...")
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a field of the protocol, or METRIC.FIELD."),
]
RealSet = Annotated[
    list[str] | None,
    typer.Option("--real-set", metavar="KEY=VALUE", help="stride, fps or stored_fps (declared rate) of REAL alone."),
]
FakeSet = Annotated[list[str] | None, typer.Option("--fake-set", metavar="KEY=VALUE", help="The same of FAKE alone.")]
Weights = Annotated[Path | None, typer.Option(metavar="FILE", help="Weights of the feature network.")]
Where = Annotated[
    str | None,
    typer.Option(metavar="CONDITION", help='SQL, on the clips of a run: "motion > 0.1 AND width >= 512".'),
]
Out = Annotated[Path | None, typer.Option(metavar="FILE.parquet", help="Add the scores to this file.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Batch = Annotated[int, typer.Option(min=1, help="Clips per forward pass.")]
Workers = Annotated[int, typer.Option(min=1, help="Decoding threads.")]
Cache = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where features are kept; default: the user's cache folder.")
]

Clips = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.parquet", help="Write a value of each clip: of a mean its part, of a distance its share."
    ),
]
By = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="Also by caption, category, source, length, or a column of the manifest."),
]


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
        means = (device, batch, workers, cache, clips, by)
        run(real, fake, metric, protocol, features, set_, *own, weights, where, out, *means)

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
    videos: Annotated[str, typer.Argument(metavar="SET", help=f"Reference set: {_SET}.")],
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


@app.command()
def compare(
    scores: Annotated[Path, typer.Argument(metavar="SCORES", help="File written with --out.")],
    force: Annotated[bool, typer.Option("--force", help="Put numbers side by side whose fingerprints differ.")] = False,
) -> None:
    """Tables of numbers that may be compared; says which fields differ where they may not."""
    from clipmill.evaluate import commands

    commands.compare(scores, force)


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
    videos: Annotated[str, typer.Argument(metavar="SET", help=f"Clean videos: {_SET}.")],
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
