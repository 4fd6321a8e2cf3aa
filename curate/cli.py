"""The command `curate`. Only argument parsing and words to the user live here; heavy imports happen inside the
commands.
"""

from pathlib import Path
from typing import Annotated

import typer

from clipmill.curate.common.console import new_app, run_app

app = new_app("curate", "Turn a folder of raw videos into clips, scores, decisions, shards and a report.")

weights_app = typer.Typer(
    help="Weights of learned models: list, pull, path.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(weights_app, name="weights")

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run directory made by `curate run`.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; may be given again.")
]
Workers = Annotated[int, typer.Option(min=0, help="Worker processes; 0: one per core.")]
Timeout = Annotated[
    float | None,
    typer.Option(min=1, help="Seconds without a frame after which a video is given up; default: 300 and 1 per MB."),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda, for the networks.")]
Preset = Annotated[str, typer.Option(help="A preset's name or a .toml file (`curate presets` lists them).")]
RetryErrors = Annotated[bool, typer.Option("--retry-errors", help="Try again what ended as error rows.")]
Lazy = Annotated[
    bool, typer.Option("--lazy", help="Networks and captions only for clips that no filter has dropped by then.")
]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine", envvar="CLIPMILL_ENGINE", help="Where workers run: local (this machine) or inline (none: to debug)."
    ),
]


@app.command(epilog="Example: curate run ~/videos --out run --set policy.motion.min=0.02")
def run(
    videos: Annotated[
        list[Path], typer.Argument(metavar="VIDEOS...", help="Folders or files of videos, lists of them, addresses.")
    ],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Run directory; run again with the same one to resume.")],
    preset: Annotated[
        str | None,
        typer.Option(
            help="A preset's name or a .toml file (`curate presets` lists them); without it RUN keeps its"
            " settings, and a new one has those of default."
        ),
    ] = None,
    set_: Set = None,
    url_col: Annotated[str, typer.Option(metavar="COLUMN", help="Of a list: the path or address of the video.")] = "",
    caption_col: Annotated[str, typer.Option(metavar="COLUMN", help="Of a list: the caption.")] = "",
    engine: EngineName = "local",
    workers: Workers = 0,
    device: Device = "auto",
    timeout: Timeout = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate time, disk and keep rate from a sample; write nothing.")
    ] = False,
    retry_errors: RetryErrors = False,
    export: Annotated[bool, typer.Option("--export/--no-export", help="Write the kept clips to shards.")] = True,
    lazy: Lazy = False,
    drop_missing: Annotated[
        bool,
        typer.Option(
            "--remove-missing",
            "--drop-missing",
            help="Take videos of earlier commands out of the run that are not among VIDEOS now.",
        ),
    ] = False,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Only this part of the videos, 0/N to N-1/N, or slurm: that of the array; `curate finish` joins them.",
        ),
    ] = None,
) -> None:
    """Videos in, a curated data set and a report out. Safe to interrupt; the same command goes on where it stopped."""
    from clipmill.curate import commands
    from clipmill.curate.engines.options import RunOptions

    options = RunOptions(workers, device, timeout, retry_errors, lazy, engine, drop_missing=drop_missing)
    columns = {"url_col": url_col, "caption_col": caption_col}
    sets = [*(f"inputs.{name}={column}" for name, column in columns.items() if column), *(set_ or [])]
    if part is not None:
        commands.run_part(videos, out, preset, sets, options, part, dry_run)
    elif dry_run:
        commands.dry_run(videos, preset, sets, options)
    else:
        commands.run(videos, out, preset, sets, options, export)


@app.command(epilog="Example: curate finish RUN, once `curate status RUN` says that all parts are done")
def finish(
    run_dir: Run,
    engine: EngineName = "local",
    workers: Workers = 0,
    device: Device = "auto",
    timeout: Timeout = None,
    retry_errors: RetryErrors = False,
    export: Annotated[bool, typer.Option("--export/--no-export", help="Write the kept clips to shards.")] = True,
) -> None:
    """Join what `curate run --part` made: tables, decisions, shards, report."""
    from clipmill.curate import commands
    from clipmill.curate.engines.options import RunOptions

    commands.finish(run_dir, RunOptions(workers, device, timeout, retry_errors, engine=engine), export)


@app.command()
def status(
    run_dir: Run, json_: Annotated[bool, typer.Option("--json", help="One JSON object per part, for programs.")] = False
) -> None:
    """What is done of a run that is being made, who is at work, how fast, and when it will end."""
    from clipmill.curate import commands

    commands.status(run_dir, json_)


@app.command()
def annotate(
    run_dir: Run,
    only: Annotated[str, typer.Option(metavar="NAME,...", help="Annotators to add or refresh.")],
    set_: Set = None,
    engine: EngineName = "local",
    workers: Workers = 0,
    device: Device = "auto",
    timeout: Timeout = None,
    retry_errors: RetryErrors = False,
    lazy: Lazy = False,
) -> None:
    """Add or refresh annotator tables of a run; from its stored pictures where they are enough."""
    from clipmill.curate import commands
    from clipmill.curate.engines.options import RunOptions

    commands.annotate(run_dir, only, set_ or [], RunOptions(workers, device, timeout, retry_errors, lazy, engine))


@app.command(name="filter", epilog="Example: curate filter RUN --set motion.min=0.02 --set sharpness.drop_lowest=10%")
def filter_(
    run_dir: Run,
    policy: Annotated[
        str | None,
        typer.Option(
            help="A preset's name, a .toml file, or the name of earlier decisions of this run; default: the run's own."
        ),
    ] = None,
    set_: Set = None,
    name: Annotated[str | None, typer.Option(help="Name under which the decisions are saved.")] = None,
    include: Annotated[
        Path | None, typer.Option(metavar="LIST", help="Clip ids, one a line, that are kept by hand from now on.")
    ] = None,
    exclude: Annotated[
        Path | None, typer.Option(metavar="LIST", help="Clip ids, one a line, that are dropped by hand from now on.")
    ] = None,
) -> None:
    """Decide again with other thresholds, from the tables alone: takes a second and no video."""
    from clipmill.curate import commands
    from clipmill.curate.browse import hand

    hand.decide_lists(run_dir, include, exclude)
    commands.filter_(run_dir, policy, set_ or [], name)


@app.command()
def export(
    run_dir: Run,
    size: Annotated[
        int | None, typer.Option(min=0, help="Short side in px; 0 keeps the source's. Ends an earlier --copy.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(min=0, help="Frames per second; 0 keeps the source's. Ends an earlier --copy.")
    ] = None,
    copy: Annotated[
        bool | None,
        typer.Option(
            "--copy/--no-copy",
            help="Cut at keyframes without encoding again; the run keeps to it until --no-copy, --size or --fps.",
        ),
    ] = None,
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="hf|folder",
            help="Also as a Hugging Face data set, or as mp4s with prompts.txt, videos.txt.",
        ),
    ] = "",
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where that goes; default: inside RUN.")] = None,
    set_: Set = None,
    engine: EngineName = "local",
    workers: Workers = 0,
    timeout: Timeout = None,
) -> None:
    """Write the kept clips as WebDataset shards, verified by decoding."""
    from clipmill.curate.driver import operations
    from clipmill.curate.engines.options import RunOptions

    asked = {"short_side_px": size, "fps": fps, "copy": None if copy is None else str(copy).lower()}
    sets = [f"{key}={value}" for key, value in asked.items() if value is not None]
    options = RunOptions(workers=workers, timeout_s=timeout, engine=engine)
    operations.export(run_dir, [*sets, *(set_ or [])], options, format_, out)


@app.command(epilog="Example: curate calibrate RUN --axis motion --drop 12.5,25,50")
def calibrate(
    run_dir: Run,
    axis: Annotated[str, typer.Option(metavar="COLUMN", help="The score to calibrate, such as motion or aesthetics.")],
    drop: Annotated[str, typer.Option(metavar="PERCENT,...", help="Shares of the clips to drop.")] = "12.5,25,50",
    side: Annotated[
        str, typer.Option(help="auto, lowest or highest: which end is dropped; auto: that of the run's policy.")
    ] = "auto",
    base: Annotated[
        str, typer.Option(help="Filters for all subsets: a preset, a .toml file, run (its own policy) or none.")
    ] = "none",
    engine: EngineName = "local",
    workers: Workers = 0,
) -> None:
    """Subsets of one run that differ in one threshold, ready to train on, as in the ablations of the SVD paper."""
    from clipmill.curate import commands
    from clipmill.curate.engines.options import RunOptions

    commands.calibrate(run_dir, axis, drop, side, base, RunOptions(workers=workers, engine=engine))


@app.command()
def report(run_dir: Run) -> None:
    """Write RUN/report.html again."""
    from clipmill.curate import commands

    commands.report(run_dir)


@app.command(epilog="Example: curate browse RUN --open")
def browse(
    run_dir: Run,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0: a free one.")] = 0,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser, too.")] = False,
) -> None:
    """A page on this machine to look at the clips, play, search and sort them, and decide by hand."""
    from clipmill.curate.browse import browse as serve

    serve(run_dir, port, open_)


@app.command()
def compact(run_dir: Run) -> None:
    """Gather the run's many small files into few; every row stays as it is."""
    from clipmill.curate import commands

    commands.compact(run_dir)


@app.command(epilog="Example: curate estimate --clips 1e8 --set cpu_hour=0.04 --set gb_month=0.02")
def estimate(
    clips: Annotated[str, typer.Option(help="How many clips, such as 1e9.")] = "",
    hours: Annotated[str, typer.Option(help="Hours of footage, in place of --clips.")] = "",
    run_dir: Annotated[
        Path | None, typer.Option("--run", metavar="RUN", help="Take the rates that this run measured.")
    ] = None,
    rates: Annotated[Path | None, typer.Option(metavar="FILE.toml", help="Rates; docs/scale.md lists them.")] = None,
    set_: Set = None,
) -> None:
    """What curating so much would cost: CPU and GPU hours by stage, bytes, objects, dollars. Reads no video."""
    from clipmill.curate import commands

    commands.estimate(clips, hours, run_dir, rates, set_ or [])


@app.command()
def use(
    run_dir: Run, policy: Annotated[str, typer.Argument(help="Name of decisions that were saved in this run.")]
) -> None:
    """Make saved decisions the run's policy, as `curate filter --policy NAME` does."""
    from clipmill.curate import commands

    commands.use(run_dir, policy)


@app.command(epilog="Example: curate hand RUN --to decisions.csv")
def hand(
    run_dir: Run,
    to: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Write them to a CSV.")] = None,
    from_: Annotated[
        Path | None, typer.Option("--from", metavar="FILE.csv", help="Take them from such a CSV, over those there are.")
    ] = None,
) -> None:
    """Decisions by hand: how many there are, to a CSV and from one."""
    from clipmill.curate.browse import hand as by_hand

    by_hand.command(run_dir, to, from_)


@app.command()
def cuts(run_dir: Run, set_: Set = None) -> None:
    """How many cuts other thresholds would find, from the stored curves; decodes nothing, changes nothing."""
    from clipmill.curate import commands

    commands.cuts(run_dir, set_ or [])


@app.command()
def inspect(run_dir: Run, clip_id: Annotated[str, typer.Argument(help="Clip id or the start of one.")]) -> None:
    """Every number of a clip, who made it, and why it was kept or dropped."""
    from clipmill.curate import commands

    commands.inspect(run_dir, clip_id)


@app.command(epilog="Example: curate presets svd")
def presets(
    name: Annotated[str, typer.Argument(help="A preset to show in full: methods, units, sources.")] = "",
) -> None:
    """List the presets, or explain one."""
    from clipmill.curate import commands

    commands.presets(name)


@weights_app.command("list")
def weights_list() -> None:
    """Every network's weights: size, licence, what uses them, and where they lie on this machine."""
    from clipmill.curate import commands

    commands.list_weights()


@weights_app.command("pull", epilog="Example: curate weights pull svd")
def weights_pull(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME...", help="Names of weights, or of presets: all that theirs need.")
    ],
) -> None:
    """Download weights into the cache folder; a download that broke off goes on."""
    from clipmill.curate import commands

    commands.pull_weights(names)


@weights_app.command("path")
def weights_path(
    name: Annotated[str, typer.Argument(help="Name of weights; without it, the cache folder.")] = "",
) -> None:
    """Print where weights lie, or where the cache folder is (set CLIPMILL_WEIGHTS to move it)."""
    from clipmill.curate import commands

    commands.print_weights_path(name)


@app.command()
def doctor() -> None:
    """Explain what this machine can do: decoders, codecs, GPU, weights, disk."""
    from clipmill.curate import commands

    commands.doctor()


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the demo videos go.")],
    minutes: Annotated[float, typer.Option(min=0.1, help="Minutes of video in all.")] = 2.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same frames.")] = 0,
    cuts: Annotated[
        bool, typer.Option("--cuts", help="Short videos of every kind of cut, and of what is none, instead.")
    ] = False,
) -> None:
    """Render demo videos with known truth: shots, motion, text, borders and planted defects."""
    from clipmill.curate import commands

    commands.demo(folder, None if cuts else minutes, seed)


def main() -> None:
    """Entry point: a user's mistake is one line on stderr and exit code 2."""
    run_app(app, "curate")


if __name__ == "__main__":
    main()
