"""Train, val and test by source video, with duplicates never on both sides.

Videos that share a duplicate group form one component, and a component goes to one split whole. Its place is a number
in [0, 1) from the sha256 of its smallest video_id, read against the cumulative shares in the order train, val, test. So
a data set that grows keeps the splits it had (a component moves only when new duplicates join it to another one, or
give it a smaller id), on every machine and in any order of rows.

Hashing leaves a small split empty in a small data set. Then, for each empty split that was asked for, smallest share
first, the component whose number lies nearest to that split's interval is moved there, from a split that has at least
two. This is the one place where a later, larger run may assign differently, and `SplitInfo.moved` names each move.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from clipmill.curate.errors import UserError
from clipmill.curate.settings.export import SPLITS, check_split

_HASH_RANGE = 2**64


@dataclass(frozen=True)
class SplitInfo:
    """What the assignment met. Components are named by their smallest video_id.

    n_components: per split. moved: component -> the split it was moved to because that would have been empty.
    empty: splits that were asked for and got nothing, because there are fewer components than splits.
    """

    n_components: Mapping[str, int] = field(default_factory=dict)
    moved: Mapping[str, str] = field(default_factory=dict)
    empty: tuple[str, ...] = ()

    def messages(self) -> list[str]:
        """One line per thing a person should know; empty where hashing alone was enough."""
        lines = [f"split {split!r} would be empty: video {name} moved there" for name, split in self.moved.items()]
        return lines + [f"split {split!r} is empty: too few independent videos" for split in self.empty]


def assign_splits(clips: pd.DataFrame, fractions: Mapping[str, float]) -> tuple[pd.Series, SplitInfo]:
    """video_id -> split for all videos of `clips` (columns video_id, and dup_group_id, null where a clip has no
    duplicate).

    Returns a Series of str named `split`, indexed by video_id in increasing order, and what to tell the user.
    Raises UserError where the fractions are no shares of train, val and test that sum to 1.
    """
    try:
        check_split(fractions)
    except ValueError as error:
        raise UserError(str(error)) from error
    components = _components(clips)
    wanted = [name for name in SPLITS if fractions.get(name, 0) > 0]
    intervals = _intervals(wanted, fractions)
    place = {name: _unit_hash(name) for name in sorted(set(components))}
    chosen = {name: _interval_of(value, intervals) for name, value in place.items()}
    moved = _fill_empty(chosen, place, intervals)
    counts = Counter(chosen.values())
    info = SplitInfo(dict(counts), moved, tuple(name for name in wanted if not counts[name]) if chosen else ())
    return components.map(chosen).rename("split").astype(object), info


def _components(clips: pd.DataFrame) -> pd.Series:
    """video_id -> smallest video_id of its component, over the graph that joins videos and duplicate groups."""
    videos, video_ids = pd.factorize(clips["video_id"], sort=True)
    groups = pd.factorize(clips["dup_group_id"])[0] if "dup_group_id" in clips else np.full(len(clips), -1)
    linked = groups >= 0
    n_nodes = len(video_ids) + groups.max(initial=-1) + 1
    edges = (np.ones(int(linked.sum())), (videos[linked], groups[linked] + len(video_ids)))
    # scipy takes a third of a second to import, and every command reads this file
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    _, labels = connected_components(coo_matrix(edges, shape=(n_nodes, n_nodes)), directed=False)
    ids = pd.Series(
        np.asarray(video_ids, object), index=pd.Index(np.asarray(video_ids, object), name="video_id"), dtype=object
    )
    return ids.groupby(labels[: len(video_ids)]).transform("first")


def _unit_hash(name: str) -> float:
    return int.from_bytes(hashlib.sha256(f"split:{name}".encode()).digest()[:8], "big") / _HASH_RANGE


def _intervals(wanted: list[str], fractions: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    stops = np.cumsum([fractions[name] for name in wanted])
    starts = [0.0, *stops[:-1]]
    return {name: (float(a), float(b)) for name, a, b in zip(wanted, starts, stops, strict=True)}


def _interval_of(value: float, intervals: Mapping[str, tuple[float, float]]) -> str:
    return next((name for name, (_, stop) in intervals.items() if value < stop), list(intervals)[-1])


def _fill_empty(
    chosen: dict[str, str], place: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]
) -> dict[str, str]:
    """Move one component into each empty split, in place, while another split can spare one."""
    moved: dict[str, str] = {}
    for split in sorted(intervals, key=lambda name: (intervals[name][1] - intervals[name][0], name)):
        counts = Counter(chosen.values())
        spare = [name for name in chosen if counts[chosen[name]] > 1]
        if counts[split] or not spare:
            continue
        start, stop = intervals[split]
        nearest = min(spare, key=lambda name: (max(start - place[name], place[name] - stop), name))
        chosen[nearest] = moved[nearest] = split
    return moved
