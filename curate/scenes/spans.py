"""From shot boundaries to spans of frames."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from clipmill.curate.scenes.transition import Transition
from clipmill.curate.settings.scenes import ScenesConfig

_BESIDE_FRAMES = 3


@dataclass(frozen=True)
class Span:
    """Frames [start, end) of one shot, clear of transitions.

    cut_residual: 0 to 1, the highest cut score left inside the span. keyframe_start, keyframe_end: the largest part
    [keyframe_start, keyframe_end) that starts at a keyframe and ends before one (or at the span's end where that is the
    video's end), so that a stream copy holds no frame of a neighbour; None where there is none.
    """

    start: int
    end: int
    cut_residual: float
    keyframe_start: int | None = None
    keyframe_end: int | None = None


def spans(
    transitions: Sequence[Transition],
    t_s: np.ndarray,
    config: ScenesConfig,
    keyframes: Sequence[int] | None = None,
    scores: np.ndarray | None = None,
) -> list[Span]:
    """Spans between transitions, in order of time, none longer than `max_length_s`; short ones are kept.

    t_s: float64 [N], s, increasing. keyframes: indices of keyframes, increasing. scores: float32 [N], the cut score of
    every frame (`scenes.scores`); without it cut_residual is 0. With `snap = "keyframe"` a span shrinks to its
    keyframe-aligned part; one without such a part stays as it is, its keyframes None, so that nothing is lost.
    """
    found, ends_s = [], _ends_s(t_s)
    for start, end in _shots(transitions, t_s, config):
        for low, high in _split(start, end, ends_s, config.max_length_s):
            first, last = _keyframe_part(low, high, len(t_s), keyframes or ())
            if config.snap == "keyframe" and first is not None and last is not None:
                low, high = first, last
            found.append(Span(low, high, _residual(scores, low, high), first, last))
    return found


def _shots(transitions: Sequence[Transition], t_s: np.ndarray, config: ScenesConfig) -> list[tuple[int, int]]:
    """Stretches outside all transitions, the guard taken off beside gradual ones. Transitions may overlap."""
    bounds = sorted(_guarded(t, t_s, config.guard_s) if t.kind == "gradual" else (t.start, t.end) for t in transitions)
    low, shots = 0, []
    for end, begin in [*bounds, (len(t_s), len(t_s))]:
        if end > low:
            shots.append((low, end))
        low = max(low, begin)
    return shots


def _guarded(t: Transition, t_s: np.ndarray, guard_s: float) -> tuple[int, int]:
    """The transition widened by the guard: the frame before ends, and the frame after begins, at least that far from
    it.
    """
    n, tiny_s = len(t_s), 1e-6
    end = int(np.searchsorted(t_s, t_s[min(t.start, n - 1)] - guard_s + tiny_s, side="right")) - 1
    begin = n if t.end >= n else int(np.searchsorted(t_s, t_s[t.end] + guard_s - tiny_s, side="left"))
    return min(max(end, 0), t.start), max(begin, t.end)


def _ends_s(t_s: np.ndarray) -> np.ndarray:
    """float64 [N + 1]: the times of frames and the end of the last one, which lasts as long as the median frame."""
    frame_s = float(np.median(np.diff(t_s))) if len(t_s) > 1 else 0.0
    return np.append(t_s, t_s[-1:] + frame_s)


def _split(start: int, end: int, t_s: np.ndarray, longest_s: float) -> list[tuple[int, int]]:
    """Equal parts of a shot, none longer than `longest_s`. t_s: as of `_ends_s`."""
    length_s = float(t_s[end]) - float(t_s[start])
    parts = max(1, int(np.ceil(length_s / longest_s - 1e-9)))
    marks = [
        start,
        *(int(np.searchsorted(t_s, t_s[start] + length_s * k / parts - 1e-9)) for k in range(1, parts)),
        end,
    ]
    return [(a, b) for a, b in pairwise(marks) if b > a]


def _keyframe_part(start: int, end: int, n: int, keyframes: Sequence[int]) -> tuple[int | None, int | None]:
    first = bisect_left(keyframes, start)
    if first == len(keyframes) or keyframes[first] >= end:
        return None, None
    if end == n:
        return int(keyframes[first]), n
    last = int(keyframes[bisect_right(keyframes, end) - 1])
    return (int(keyframes[first]), last) if last > keyframes[first] else (None, None)


def _residual(scores: np.ndarray | None, start: int, end: int) -> float:
    """Highest score inside a span, its first and last frames left out: they stand beside a boundary by right."""
    inside = np.empty(0) if scores is None else scores[start + _BESIDE_FRAMES : end - _BESIDE_FRAMES + 1]
    return float(np.nan_to_num(inside).max(initial=0.0))
