"""The crop box of a clip's row."""

from collections.abc import Mapping
from typing import Any


def crop_box(row: Mapping[Any, Any]) -> tuple[int, int, int, int] | None:
    """(x, y, width, height) in px of the upright picture; None where the row has no box, or half of one."""
    values = [row.get(f"crop_{name}") for name in "xywh"]
    if any(value is None or value != value for value in values):  # pandas has NaN for a missing number
        return None
    x, y, w, h = (int(value) for value in values)  # type: ignore[arg-type]
    return x, y, w, h
