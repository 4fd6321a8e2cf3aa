"""What `curate weights` shows and pulls."""

from collections.abc import Mapping

from clipmill.curate.weights.locations import find
from clipmill.curate.weights.table import Weights, known


def list_lines(overrides: Mapping[str, str] | None = None) -> list[str]:
    """One line per entry of the table, under a line of titles: name, size, what uses it, licence, where it lies."""
    rows: list[tuple[str, ...]] = [("name", "size", "used by", "licence", "on this machine")]
    rows += [_row(weights, overrides or {}) for weights in known()]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]]) for row in rows]


def _row(weights: Weights, overrides: Mapping[str, str]) -> tuple[str, ...]:
    path = find(weights.name, overrides)
    absent = f"no; bring it yourself: {weights.source}" if weights.kind == "own" else "no"
    return (
        weights.name,
        weights.size,
        ", ".join(weights.used_by),
        weights.licence,
        str(path) if path is not None else absent,
    )
