"""`evaluate over-time`: does a long video get worse."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clipmill.evaluate.cli_options import (
    AgainstReal,
    Batch,
    Cache,
    Device,
    Features,
    Metrics,
    ProtocolName,
    Set,
    Weights,
    Workers,
)

if TYPE_CHECKING:
    from clipmill.evaluate.versus.over_time import Curve


def command(
    fake: Annotated[str, typer.Argument(metavar="FAKE", help="Long videos.")],
    real: AgainstReal = None,
    windows: Annotated[int, typer.Option(min=2, help="Clips of each video, one after another.")] = 8,
    metrics: Metrics = "fvd,kvd",
    out: Annotated[Path | None, typer.Option(metavar="FILE.json", help="Write the curves there.")] = None,
    protocol: ProtocolName = "clipmill",
    features: Features = None,
    set_: Set = None,
    weights: Weights = None,
    device: Device = "auto",
    batch: Batch = 8,
    workers: Workers = 2,
    cache: Cache = None,
) -> None:
    """A metric of each window of long videos against the same real clips, its slope, and where it changes most."""
    from clipmill.curate.common.files import write_text
    from clipmill.curate.common.log import say
    from clipmill.evaluate import commands
    from clipmill.evaluate.output_paths import check_file
    from clipmill.evaluate.questions.gathering import gather, raise_problems
    from clipmill.evaluate.versus.over_time import curve_of

    if out is not None:
        check_file(out, "curves.json")
    options = commands.Options(protocol, features, set_ or [], weights, None, None, device, batch, workers, cache)
    names = [name.strip() for name in metrics.split(",") if name.strip()]
    found = gather([fake], real, names, options, windows)
    curves = [curve_of(one, windows, options.seed) for one in found.gathered[0]]
    for curve in curves:
        for line in _lines(curve, int(found.facts["span"])):
            say(line)
    if out is not None:
        write_text(out, json.dumps({"facts": found.facts, "curves": [_record(c) for c in curves]}, indent=1))
        say(f"written to {out}")
    raise_problems(found.problems, len(names))


def _lines(curve: "Curve", span: int) -> Iterator[str]:
    unit = f" {curve.unit}" if curve.unit else ""
    left = f", {curve.left_out} shorter ones left out" if curve.left_out else ""
    yield f"{curve.metric}: {curve.title}; {curve.clips} videos{left}"
    for k, value in enumerate(curve.values):
        line = f"  frames {k * span} to {(k + 1) * span - 1}: {value:.6g}{_bar(curve.errors[k])}{unit}"
        if k:
            line += f", since the first {value - curve.values[0]:+.4g}{_bar(curve.since_first[k])}"
        yield line + (f", to the first {curve.from_first[k]:.4g}" if k and curve.from_first else "")
    slope = f"{curve.slope:+.4g}{_bar(curve.slope_error)}{unit}"
    yield f"  slope {slope} a window; the largest step is at frame {curve.step * span}"


def _bar(error: float | None) -> str:
    return "" if error is None else f" ± {error:.2g}"


def _record(curve: "Curve") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(curve) | {"step": curve.step}
