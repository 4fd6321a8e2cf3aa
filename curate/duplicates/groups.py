"""Groups of alike clips around the ones to keep: a clip is compared with those that are kept, not with every other."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

_LEADERS = 512

# Positions int64 [L] of clips, and bool [N], which of all clips are free -> for each of the L the positions int64 of
# the free ones that may belong to it, itself perhaps among them; symmetric.
Near = Callable[[np.ndarray, np.ndarray], Iterable[np.ndarray]]


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


def gather(
    order: Sequence[int], near: Near, same: Callable[[int, int], bool] | None = None, leaders: int = _LEADERS
) -> list[list[int]]:
    """In `order`, each clip not yet taken gathers the free ones that are alike. Groups of one are left out.

    order: positions from the clip to keep to the last. near: see `Near`. same: whether two clips i < j that are near
    are alike; None: all are. leaders: how many clips `near` is asked about at once. Of n clips that are all alike it
    asks n times, and no list of pairs is kept: a channel's ident is in a collection ten thousand times.
    """
    places = np.asarray(order, np.int64)
    rank = np.zeros(int(places.max(initial=-1)) + 1, np.int64)
    rank[places] = np.arange(len(places))
    free, groups = np.zeros(len(rank), bool), []
    free[places] = True
    for start in range(0, len(places), leaders):
        some = places[start : start + leaders]
        some = some[free[some]]
        if not len(some):
            continue
        for clip, mates in zip(some.tolist(), near(some, free.copy()), strict=True):
            if not free[clip]:
                continue
            free[clip] = False
            mates = np.sort(mates[free[mates]])
            found = mates if same is None else mates[[same(min(clip, j), max(clip, j)) for j in mates.tolist()]]
            if len(found):
                free[found] = False
                groups.append([clip, *found[np.argsort(rank[found])].tolist()])
    return groups
