"""`evaluate reconstruct`: what an autoencoder keeps of videos."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clipmill.evaluate.cli_options import (
    Batch,
    Cache,
    Device,
    Fake,
    Features,
    ProtocolName,
    Real,
    Set,
    Weights,
    Workers,
)

if TYPE_CHECKING:
    from clipmill.evaluate.frames.per_frame import Positions

_METRICS = "psnr,ssim,ms-ssim,lpips,fvd,flicker"


def command(
    real: Real,
    fake: Fake,
    metrics: Annotated[
        str | None, typer.Option(metavar="NAME,...", help=f"Default: {_METRICS}, as far as they can be had.")
    ] = None,
    chunk: Annotated[
        int | None, typer.Option(min=2, help="Frames that one latent stands for: its first frame against the others.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write the table there.")] = None,
    protocol: ProtocolName = "clipmill",
    features: Features = None,
    set_: Set = None,
    weights: Weights = None,
    device: Device = "auto",
    batch: Batch = 8,
    workers: Workers = 2,
    cache: Cache = None,
) -> None:
    """Reconstructions against the originals of the same names: PSNR, SSIM, MS-SSIM, LPIPS, the distance of the sets
    (rFVD), flicker added, and each frame position by itself.
    """
    from clipmill.curate.common.files import write_text
    from clipmill.curate.common.log import say
    from clipmill.evaluate import commands
    from clipmill.evaluate.evaluation import IncompleteScores
    from clipmill.evaluate.frames.per_frame import positions
    from clipmill.evaluate.output_paths import check_file

    if out is not None:
        check_file(out, "reconstruction.json")
    options = commands.Options(protocol, features, set_ or [], weights, None, None, device, batch, workers, cache)
    names = [name.strip() for name in (metrics or _METRICS).split(",") if name.strip()]
    evaluation = options.evaluation(real, fake, needs_network=False)
    evaluation.ask_frames()
    problem = None
    try:
        rows = evaluation.scores(names)
    except IncompleteScores as error:
        rows, problem = error.rows, error
    for row in rows:
        shown = f"r{row}" if row.metric == "fvd" and row.title.startswith("FVD") else str(row)
        say(shown + (f" (originals: {row.details['real']:.6g})" if "real" in row.details else ""))
    found = evaluation.frames()
    each = positions(found.values)
    for line in _lines(each, chunk, len(found.clip_ids)):
        say(line)
    for name, reason in (problem.problems if problem else {}).items():
        say(f"not computed: {name}: {reason}")
    if out is not None:
        table = {row.metric: {"value": row.value, "standard_error": row.standard_error} for row in rows}
        by_frame = {name: getattr(each, name).tolist() for name in ("psnr", "ssim", "flicker")}
        write_text(out, json.dumps({"clips": len(found.clip_ids), "scores": table, "frames": by_frame}, indent=1))
        say(f"written to {out}")
    if problem is not None and metrics is not None:
        raise problem


def _lines(each: "Positions", chunk: int | None, clips: int) -> Iterator[str]:
    import numpy as np

    from clipmill.evaluate.frames.per_frame import psnr_of

    yield f"by frame, over {clips} clips: PSNR (dB), SSIM, flicker added (levels)"
    for k, (psnr, ssim, flicker) in enumerate(zip(each.psnr, each.ssim, each.flicker, strict=True)):
        yield f"  frame {k:2}: {psnr:7.3f}  {ssim:.4f}" + (f"  {flicker:+.3f}" if k else "")
    if len(each.flicker) > 1:
        yield f"  flicker added: {each.flicker[1:].mean():+.4f} levels; the worst frame is {each.worst}"
    if chunk is not None:
        first, others = each.psnr[::chunk], np.delete(each.psnr, np.s_[::chunk])
        yield f"  first frames of chunks of {chunk}: {psnr_of(first):.3f} dB, the others {psnr_of(others):.3f} dB"
