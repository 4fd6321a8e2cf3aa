"""What `curate weights` shows and pulls."""

from collections.abc import Mapping

from clipmill.curate.errors import UserError
from clipmill.curate.policy import closest
from clipmill.curate.weights.places import find, is_path
from clipmill.curate.weights.table import Weights, known


def list_lines(overrides: Mapping[str, str] | None = None) -> list[str]:
    """One line per entry of the table, under a line of titles: name, size, what uses it, licence, where it lies."""
    rows: list[tuple[str, ...]] = [("name", "size", "used by", "licence", "on this machine")]
    rows += [_row(weights, overrides or {}) for weights in known()]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[-1]]) for row in rows]


def _row(weights: Weights, overrides: Mapping[str, str]) -> tuple[str, ...]:
    path = find(weights.name, overrides)
    return (
        weights.name,
        weights.size,
        ", ".join(weights.used_by),
        weights.licence,
        str(path) if path is not None else "no",
    )


def pull_names(preset_or_name: str) -> list[str]:
    """The weights to pull: one by its name, or all that the annotators of a preset (a name or a TOML file) need.

    Raises UserError, naming the closest, for what is neither.
    """
    from clipmill.curate.config import load, preset_names

    names = [weights.name for weights in known()]
    if preset_or_name in names:
        return [preset_or_name]
    if not preset_or_name.endswith(".toml") and preset_or_name not in preset_names():
        near = closest(preset_or_name, [*names, *preset_names()])
        raise UserError(
            f"there are neither weights nor a preset called {preset_or_name!r}{near} (see `curate weights list`)"
        )
    config = load(preset_or_name)
    needed = dict.fromkeys(name for annotator in config.annotators for name in config.annotator(annotator).weights)
    return [name for name in needed if not is_path(name)]
