"""Which clips of two sets are of the same prompt, number or source, and which of them are not independent."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from clipmill.curate.errors import UserError
from clipmill.evaluate.distances.grouped import group_codes
from clipmill.evaluate.extraction.measure import Measured
from clipmill.evaluate.sets import Video

By = Literal["auto", "caption", "index", "name", "source", "none"]
WAYS = ("auto", "caption", "index", "name", "source", "none")
# Fewer pairs than this share of the smaller set are no pairing.
_ENOUGH = 0.5
_SUFFIXES = 5


@dataclass(frozen=True)
class Units:
    """rows_a, rows_b: int64, the clips that are compared. codes_a, codes_b: int64, the unit of each; clips of one unit
    are not independent. paired: whether each unit holds as many clips of either set. how: in words. left_out: clips of
    either set that have no counterpart, or are more than the other's.
    """

    rows_a: np.ndarray
    rows_b: np.ndarray
    codes_a: np.ndarray
    codes_b: np.ndarray
    paired: bool
    how: str
    left_out: tuple[int, int]

    @property
    def count(self) -> int:
        """Of units; of the smaller set, where they are not paired."""
        return min(len(np.unique(self.codes_a)), len(np.unique(self.codes_b)))


def matched(a: Measured, b: Measured, by: By = "auto") -> Units:
    """The clips of two sets that a test compares. by: what makes a pair; auto: captions, where they tell most clips
    apart, else the number of a sample, the file's name, the source video; none where nothing fits. Clips of one source
    video, and copies, are one unit. Raises UserError where what is asked for does not pair the sets.
    """
    if by == "none":
        return _unpaired(a, b)
    for way in _KEYS if by == "auto" else (by,):
        keys = [[_KEYS[way](video, number) for video, number in _numbered(m)] for m in (a, b)]
        if by != "auto" or _fits(way, keys, a, b):
            return _paired(a, b, keys, way)
    return _unpaired(a, b)


def _stem(video: Video, number: int) -> Hashable:
    head, _, suffix = video.video_id.rpartition(".")
    return (head if head and 0 < len(suffix) <= _SUFFIXES and not suffix.isdigit() else video.video_id), number


_KEYS: Mapping[str, Callable[[Video, int], Hashable]] = {
    "caption": lambda video, number: video.caption or None,
    "index": lambda video, number: None if "index" not in video.columns else (video.columns["index"], number),
    "name": _stem,
    "source": lambda video, number: video.group or video.key,
}
_WORDS = {
    "caption": "the same captions",
    "index": "the same numbers of samples",
    "name": "the same names",
    "source": "the same source videos",
}


def _numbered(measured: Measured) -> list[tuple[Video, int]]:
    seen: Counter[str] = Counter()
    found = []
    for video in measured.videos:
        found.append((video, seen[video.video_id]))
        seen[video.video_id] += 1
    return found


def _fits(way: str, keys: Sequence[Sequence[Hashable]], a: Measured, b: Measured) -> bool:
    """Whether pairs by these keys are worth making."""
    if not all(keys) or any(key is None for some in keys for key in some):
        return False
    fewest = min(map(len, keys))
    if way == "caption" and min(len(set(some)) for some in keys) < _ENOUGH * fewest:
        return False
    if way in ("index", "name") and _captions_disagree(keys, a, b):
        return False
    shared = Counter(keys[0]) & Counter(keys[1])
    return sum(shared.values()) >= _ENOUGH * fewest


def _captions_disagree(keys: Sequence[Sequence[Hashable]], a: Measured, b: Measured) -> bool:
    first = {key: video.caption for key, video in zip(keys[0], a.videos, strict=True)}
    return any(first.get(key, v.caption) != v.caption for key, v in zip(keys[1], b.videos, strict=True))


def _paired(a: Measured, b: Measured, keys: Sequence[Sequence[Hashable]], way: str) -> Units:
    """As many clips of either set for each key, the first of them."""
    places: list[dict[Hashable, list[int]]] = [defaultdict(list), defaultdict(list)]
    for side, some in enumerate(keys):
        for row, key in enumerate(some):
            if key is not None:
                places[side][key].append(row)
    rows: list[list[int]] = [[], []]
    kept: list[Hashable] = []
    for key, mine in places[0].items():
        count = min(len(mine), len(places[1].get(key, ())))
        rows[0] += mine[:count]
        rows[1] += places[1][key][:count] if count else []
        kept += [key] * count
    if not kept:
        raise UserError(f"the sets have no clips of {_WORDS[way]}; --pair none compares them as independent")
    codes = _joined(group_codes_of(kept), [_groups(m, r) for m, r in zip((a, b), rows, strict=True)])
    left_out = (len(a.clip_ids) - len(kept), len(b.clip_ids) - len(kept))
    first, second = (np.array(r, np.int64) for r in rows)
    return Units(first, second, codes, codes, True, f"pairs of {_WORDS[way]}", left_out)


def _unpaired(a: Measured, b: Measured) -> Units:
    """All clips; where the sets differ in number, as many of the larger one as the smaller has, so that the biases of
    their distances are one.
    """
    count = min(len(a.clip_ids), len(b.clip_ids))
    rows = [np.arange(len(m.clip_ids))[np.argsort(_places(m), kind="stable")[:count]] for m in (a, b)]
    rows = [np.sort(r) for r in rows]
    codes = [group_codes(_groups(m, r.tolist())) for m, r in zip((a, b), rows, strict=True)]
    left_out = (len(a.clip_ids) - count, len(b.clip_ids) - count)
    return Units(rows[0], rows[1], codes[0], codes[1], False, "as independent sets", left_out)


def _places(measured: Measured) -> list[str]:
    """An order that does not depend on names."""
    return [key[::-1] for key in measured.keys]


def _groups(measured: Measured, rows: Sequence[int]) -> list[str]:
    return [measured.groups[i] if measured.groups else str(i) for i in rows]


def group_codes_of(keys: Sequence[Hashable]) -> np.ndarray:
    """int64 [N], 0 to the number of different keys less one."""
    seen: dict[Hashable, int] = {}
    return np.array([seen.setdefault(key, len(seen)) for key in keys], np.int64)


def _joined(codes: np.ndarray, groups: Sequence[Sequence[str]]) -> np.ndarray:
    """Units that share a source video, or a copy, in either set are one."""
    parent = list(range(int(codes.max()) + 1))

    def root(unit: int) -> int:
        while parent[unit] != unit:
            parent[unit] = parent[parent[unit]]
            unit = parent[unit]
        return unit

    for some in groups:
        first: dict[str, int] = {}
        for unit, group in zip(codes.tolist(), some, strict=True):
            parent[root(unit)] = root(first.setdefault(group, unit))
    return group_codes_of([root(unit) for unit in codes.tolist()])
