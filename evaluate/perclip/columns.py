"""The values of a column for the clips that were measured, and the groups they make."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from clipmill.evaluate.extraction.measure import Measured
from clipmill.evaluate.sets.columns import OWN, check_column, is_known

UNKNOWN = "(unknown)"
_PARTS = 4
# Of a column of numbers: above it, numbers are put into ranges.
_MOST_VALUES = 8


def length_of(measured: Measured, row: int) -> float:
    """Seconds of the whole video; NaN where no rate is known."""
    return measured.facts[row].length_s if measured.facts else math.nan


def column(measured: Measured, name: str) -> list[Any]:
    """Its value for each clip, None where it has none. Raises UserError where no clip has such a column."""
    check_column(measured.videos, name)
    if name == "length":
        values: Sequence[Any] = [length_of(measured, row) for row in range(len(measured.videos))]
    elif name in OWN and not any(name in video.columns for video in measured.videos):
        values = [OWN[name](video) for video in measured.videos]
    else:
        values = [video.columns.get(name) for video in measured.videos]
    return [value if is_known(value) else None for value in values]


def grouping(values: Sequence[Any]) -> Callable[[Any], str]:
    """A function of a value to its group: the value itself, or, for more than eight numbers, a quarter of them."""
    numbers = [float(v) for v in values if isinstance(v, int | float | np.number) and not isinstance(v, bool)]
    if len(set(numbers)) <= _MOST_VALUES or len(numbers) < sum(v is not None for v in values):
        return lambda value: UNKNOWN if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    edges = np.quantile(numbers, np.linspace(0, 1, _PARTS + 1))

    def quarter(value: Any) -> str:
        if not isinstance(value, int | float | np.number):
            return UNKNOWN
        part = int(np.clip(np.searchsorted(edges, value, side="right") - 1, 0, _PARTS - 1))
        return f"{edges[part]:.4g} to {edges[part + 1]:.4g}"

    return quarter
