"""The loss curve as points of an SVG."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH_PX, HEIGHT_PX = 720, 220
_LEAST_RATIO = 1.05


@dataclass(frozen=True)
class Curve:
    """lines: title -> "x,y x,y ...", px from the upper left of WIDTH_PX x HEIGHT_PX. ticks: (y px, text). last_step: at
    the right edge.
    """

    lines: Mapping[str, str]
    ticks: tuple[tuple[float, str], ...]
    last_step: int


def curve_of(log: Sequence[Mapping[str, Any]]) -> Curve | None:
    """Of the rows of a training's log: its loss, and the validation's where there is one; logarithmic. None for fewer
    than two points.
    """
    series = {"loss": _points(log, "loss"), "validation": _points(log, "validation_loss")}
    values = [value for points in series.values() for _, value in points]
    if len(series["loss"]) < 2:
        return None
    low, high = min(values), max(max(values), min(values) * _LEAST_RATIO)
    last = max(step for points in series.values() for step, _ in points)

    def place(step: float, value: float) -> tuple[float, float]:
        return WIDTH_PX * step / last, HEIGHT_PX * (1 - math.log(value / low) / math.log(high / low))

    lines = {
        title: " ".join("{:.1f},{:.1f}".format(*place(step, value)) for step, value in points)
        for title, points in series.items()
        if len(points) > 1
    }
    middle = math.sqrt(low * high)
    return Curve(lines, tuple((place(last, value)[1], f"{value:.3g}") for value in (high, middle, low)), int(last))


def _points(log: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(row["step"], row[name]) for row in log if name in row and math.isfinite(row[name]) and row[name] > 0]
