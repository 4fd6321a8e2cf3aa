"""Clips that are not independent: which belong together, and how they are left out together."""

from collections.abc import Sequence

import numpy as np


def group_codes(groups: Sequence[str] | np.ndarray) -> np.ndarray:
    """int64 [N], 0 to the number of groups less one, in the order in which they come."""
    seen: dict[object, int] = {}
    return np.array([seen.setdefault(g, len(seen)) for g in np.asarray(groups).tolist()], np.int64)


def group_sums(values: np.ndarray, groups: Sequence[str] | np.ndarray) -> np.ndarray:
    """float64 [G]: sums of float64 [N] over each group."""
    return np.bincount(group_codes(groups), weights=values)


def random_parts(groups: np.ndarray, parts: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows of each of `parts` parts, int64: whole groups in random order, each to the part that has the fewest rows so
    far, so that the parts are nearly equal. groups: int64 [N], see `group_codes`.
    """
    sizes = np.bincount(groups)
    rows = np.zeros(parts, np.int64)
    part_of = np.empty(len(sizes), np.int64)
    for group in rng.permutation(len(sizes)):
        part_of[group] = np.argmin(rows)
        rows[part_of[group]] += sizes[group]
    return [np.flatnonzero(part_of[groups] == part) for part in range(parts)]
