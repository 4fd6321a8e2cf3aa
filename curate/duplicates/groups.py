"""Groups of alike clips around the ones to keep: a clip is compared with those that are kept, not with every other."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

_LEADERS = 512

# Positions int64 [L] and int64 [M] of clips -> bool [L, M], which of the others may belong to each; symmetric.
Near = Callable[[np.ndarray, np.ndarray], np.ndarray]


def keep_order(clips: "pd.DataFrame") -> list[int]:
    """Positions from the clip one would rather keep to the last: most pixels, longest, sharpest, smallest clip_id;
    unknown last.
    """
    ranked = clips.reset_index(drop=True)
    pixels = ranked["width"] * ranked["height"] if {"width", "height"} <= set(ranked) else 0
    table = ranked[["clip_id"]].assign(
        pixels=pixels, seconds=ranked.get("duration_s", 0), sharpness=ranked.get("sharpness", 0)
    )
    by = ["pixels", "seconds", "sharpness", "clip_id"]
    return [int(i) for i in table.sort_values(by, ascending=[False, False, False, True], na_position="last").index]


def gather(order: Sequence[int], near: Near, same: Callable[[int, int], bool] | None = None) -> list[list[int]]:
    """In `order`, each clip not yet taken gathers the free ones that are alike. Groups of one are left out.

    order: positions from the clip to keep to the last. near: see `Near`. same: whether two clips i < j that are near
    are alike; None: all are. Of n clips that are all alike it asks n times, and no list of pairs is kept: a channel's
    ident is in a collection ten thousand times.
    """
    places = np.asarray(order, np.int64)
    rank = {clip: place for place, clip in enumerate(places.tolist())}
    free, groups = np.ones(int(places.max(initial=-1)) + 1, bool), []
    free[np.setdiff1d(np.arange(len(free)), places)] = False
    for start in range(0, len(places), _LEADERS):
        leaders, others = places[start : start + _LEADERS], np.flatnonzero(free)
        leaders = leaders[free[leaders]]
        for clip, row in zip(leaders.tolist(), near(leaders, others), strict=True):
            if not free[clip]:
                continue
            free[clip] = False
            mates = others[row]
            found = [j for j in mates[free[mates]].tolist() if same is None or same(min(clip, j), max(clip, j))]
            if found:
                free[found] = False
                groups.append([clip, *sorted(found, key=rank.__getitem__)])
    return groups


def star_groups(order: Sequence[int], edges: Sequence[tuple[int, int]]) -> list[list[int]]:
    """`gather` where all pairs that are alike are known and few. edges: pairs of positions, each once."""
    neighbours: dict[int, set[int]] = {}
    for i, j in edges:
        neighbours.setdefault(i, set()).add(j)
        neighbours.setdefault(j, set()).add(i)
    place = {clip: rank for rank, clip in enumerate(order)}
    taken: set[int] = set()
    groups = []
    for clip in order:
        free = neighbours.get(clip, set()) - taken
        if clip in taken or not free:
            continue
        groups.append([clip, *sorted(free, key=place.__getitem__)])
        taken.update(groups[-1])
    return groups
