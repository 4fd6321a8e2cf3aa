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
