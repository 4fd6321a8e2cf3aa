"""The command `models`. Only argument parsing lives here; heavy imports happen inside the commands."""

from pathlib import Path
from typing import Annotated

import typer

from clipmill.curate.common.console import new_app, run_app

app = new_app("models", "Train the reference latent video diffusion model on a curate run, and sample from it.")

Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Checkpoint = Annotated[Path, typer.Argument(metavar="CKPT", help="A folder that `models train` wrote.")]
Step = Annotated[int | None, typer.Option(min=0, help="Of which checkpoint; default: the last.")]
Average = Annotated[
    float | None, typer.Option(min=0, help="Relative width of the weights' average; 0 for the last weights.")
]


@app.command(
    epilog=(
        "Example: models train RUN --config demo --out CKPT. On several GPUs: torchrun --nproc-per-node 8 -m"
        " clipmill.models.cli train ..."
    )
)
def train(
    config: Annotated[
        str, typer.Option(metavar="NAME|FILE.toml", help="Preset (`models list`), its size NAME-nano, or a file.")
    ],
    out: Annotated[Path, typer.Option(metavar="CKPT", help="Where the checkpoint goes; one that is there goes on.")],
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="A curate run with exported clips.")] = None,
    one: Annotated[
        Path | None, typer.Option(metavar="VIDEO", help="In place of RUN: a video file, all of it one clip.")
    ] = None,
    caption: Annotated[str | None, typer.Option(metavar="TEXT", help="What the video of --one shows.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps in all, instead of the preset's.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting, for example data.batch=16."),
    ] = None,
    device: Device = "auto",
    cache: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where latents are cached; default: CKPT/latents.")
    ] = None,
) -> None:
    """Train, or go on with, a model. SIGTERM, SIGUSR1 and Ctrl-C finish the step (or the batch of latents), save, and
    exit 0.
    """
    from clipmill.models import commands
    from clipmill.models.settings.source import source

    settings = [*(set_ or []), *([f"train.steps={steps}"] if steps is not None else [])]
    commands.train(source(run, one, caption), config, out, settings, device, cache)


@app.command(epilog='Example: models sample CKPT --n 64 --out samples --caption "a red ball bounces"')
def sample(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the videos go.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Videos to make.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Video k of a seed is always the same.")] = 0,
    caption: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Again for more, by turns; default: training captions.")
    ] = None,
    captions: Annotated[Path | None, typer.Option(metavar="FILE.txt", help="One caption per line.")] = None,
    label: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Class; default: as in the training clips.")
    ] = None,
    number: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Micro-conditioning, for example motion=0.2.")
    ] = None,
    first: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Picture, video or folder: frames to begin with.")
    ] = None,
    last: Annotated[Path | None, typer.Option(metavar="PATH", help="The same: frames to end with.")] = None,
    extend: Annotated[
        int | None, typer.Option(metavar="N", min=2, help="Go on, window after window, to N frames in all.")
    ] = None,
    extend_before: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Make N more frames, that lead to its beginning.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The same: pictures of what is to be shown.")
    ] = None,
    edit: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Video or folder: change its windows to show --caption.")
    ] = None,
    source_caption: Annotated[str | None, typer.Option(metavar="TEXT", help="What the video of --edit shows.")] = None,
    then: Annotated[
        list[Path] | None,
        typer.Option(metavar="CKPT", help="Another model makes its videos of these; again for more stages."),
    ] = None,
    then_set: Annotated[
        list[str] | None,
        typer.Option("--then-set", metavar="K:KEY=VALUE", help="A setting of the K-th --then: 1:sample.steps=25."),
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames per video; default: as trained.")] = None,
    size: Annotated[str | None, typer.Option(metavar="HEIGHTxWIDTH", help="px; default: as trained.")] = None,
    step: Step = None,
    average: Average = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="sample.steps=25, sample.guidance=4 ...")
    ] = None,
    device: Device = "auto",
) -> None:
    """Write videos, a contact sheet and a manifest that `evaluate` reads."""
    from clipmill.models import commands

    texts, numbers = commands.caption_list(caption or [], captions), commands.number_list(number or [])
    stages = commands.stage_list(then or [], then_set or [])
    from clipmill.models.stages.command import sample as sample_into
    from clipmill.models.stages.request import Request

    request = Request(
        count=n,
        seed=seed,
        captions=texts,
        label=label,
        numbers=numbers,
        first=first,
        last=last,
        reference=reference,
        frames=frames,
        size=size,
        step=step,
        average=average,
        extend=extend,
        extend_before=extend_before,
        edit=edit,
        source_caption=source_caption,
        then=stages,
    )
    sample_into(checkpoint, out, request, set_ or [], device)


@app.command(epilog="Example: models floor CKPT --out floor")
def floor(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the sets go.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Videos of each set, at most.")] = 64,
) -> None:
    """Write what samples are to be compared with: training windows, the same through the latents, held-out windows."""
    from clipmill.models.training.floor import write_floor

    write_floor(checkpoint, out, n)


@app.command(epilog="Example: models lora CKPT --out moves.safetensors")
def lora(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option(metavar="FILE.safetensors", help="Where the branches go.")],
    diffusers: Annotated[bool, typer.Option("--diffusers", help="Under the names of diffusers and peft.")] = False,
    step: Step = None,
    average: Average = None,
) -> None:
    """Write the low-rank branches of a checkpoint (train.learn=lora:8) as one small file."""
    from clipmill.models.export.lora_files import write_lora

    write_lora(checkpoint, out, diffusers, step, average)


@app.command(epilog="Example: models merge CKPT --lora moves.safetensors --out MERGED")
def merge(
    checkpoint: Checkpoint,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the merged checkpoint goes.")],
    lora: Annotated[
        list[Path] | None,
        typer.Option("--lora", metavar="FILE", help="Of `models lora`; again for more."),
    ] = None,
    step: Step = None,
    average: Average = None,
) -> None:
    """Write a checkpoint of plain weights, with its own branches and those of files merged in."""
    from clipmill.models.export.merging import merge as merge_into

    merge_into(checkpoint, lora or [], out, step, average)


@app.command(name="list")
def list_() -> None:
    """The presets: what each is, and the property that a test proves about it."""
    from clipmill.models import commands

    commands.list_presets()


@app.command()
def info(
    checkpoint: Checkpoint,
    clips: Annotated[bool, typer.Option("--clips", help="The clips it has seen, with their source videos.")] = False,
    config: Annotated[bool, typer.Option("--config", help="The whole resolved config.")] = False,
) -> None:
    """The run card of a checkpoint: model, data, code, progress."""
    from clipmill.models import commands

    commands.info(checkpoint, clips, config)


def main() -> None:
    """Entry point: a user's mistake is one line on stderr and exit code 2."""
    run_app(app, "models")


if __name__ == "__main__":
    main()
