"""The multi-rate cascade: shot boundaries from the stored curves alone.

Three questions, asked of every frame in turn; an answer explains its neighbourhood, so a later question adds only what the
earlier ones cannot explain:

1. Full rate: is the one-frame change far above the changes around it, in picture and in colour, and is the picture
   replaced? (hard cuts; their times come from here)
2. Still screens: do two stretches without any motion differ? (slides, screen recordings: too small a change for 1.)
3. Lower rates: over gaps of 8, 16, 32 and 64 frames, do the two sides differ far beyond their own variation, more than one
   gap earlier or later, with every pixel on its way from one side to the other? (dissolves, fades, wipes, as intervals)
"""

from collections.abc import Mapping

import numpy as np

from curate.scenes.config import ScenesConfig
from curate.scenes.curves import SIDE_FRAMES, SPAN_FRAMES
from curate.scenes.transition import Transition

_NEIGHBOURS = 4
_NOISE = 1.5
_COLOUR_NOISE = 0.01
_PEAK_FRAMES = 3
_DIP = 0.25


def detect(curves: Mapping[str, np.ndarray], t_s: np.ndarray, config: ScenesConfig) -> list[Transition]:
    """Transitions in order of time. curves: name -> float32 [N] of CurveBuilder; t_s: float64 [N], s."""
    hard = _hard(curves, config)
    still = [t for t in _still(curves, config) if not _explained(t, hard)]
    found = sorted(hard + still)
    for candidate in sorted(gradual_candidates(curves, config), key=lambda c: -c.score):
        if candidate.score >= 0.5 and not _explained(candidate, found):
            found.append(candidate)
    return sorted(found)


def _explained(candidate: Transition, found: list[Transition]) -> bool:
    """Whether a boundary already found lies in the candidate's interval, sides included."""
    low, high = candidate.start - SIDE_FRAMES // 2, candidate.end + SIDE_FRAMES // 2
    return any(t.start <= high and t.end >= low for t in found)


def contrast(curve: np.ndarray, floor: float) -> np.ndarray:
    """Ratio of each value to the mean of its 4 neighbours on either side (itself left out) plus `floor`, float64 [N]."""
    padded = np.pad(curve.astype(np.float64), _NEIGHBOURS, mode="reflect" if len(curve) > _NEIGHBOURS else "edge")
    sums = np.concatenate([[0.0], np.cumsum(padded)])
    window = 2 * _NEIGHBOURS + 1
    around = (sums[window:] - sums[:-window] - curve) / (window - 1)
    return curve / (around + floor)


def hard_evidence(curves: Mapping[str, np.ndarray]) -> np.ndarray:
    """Contrast of the one-frame change, times the root of that of the colour histogram (which motion leaves alone), float64 [N]."""
    return contrast(curves["jump"], _NOISE) * np.sqrt(contrast(curves["colour_jump"], _COLOUR_NOISE))


def as_score(evidence: np.ndarray, threshold: float) -> np.ndarray:
    """Evidence on a scale from 0 to 1 with 0.5 at the threshold."""
    return evidence / (evidence + threshold)


def _peaks(score: np.ndarray, threshold: float, reach: int) -> list[int]:
    """Frames >= 1 whose score is at least the threshold and the highest within `reach` frames; the first of equals."""
    found: list[int] = []
    for i in np.flatnonzero(score >= threshold).tolist():
        highest = score[i] >= score[max(0, i - reach) : i + reach + 1].max()
        if i > 0 and highest and not (found and i - found[-1] <= reach):
            found.append(i)
    return found


def _hard(curves: Mapping[str, np.ndarray], config: ScenesConfig) -> list[Transition]:
    replaced = curves["structure"] >= config.hard_structure
    changed = curves["between_4"] >= curves["within_4"]
    score = np.where(replaced & changed, as_score(hard_evidence(curves), config.hard_evidence), 0.0)
    return [Transition(i, i, i, "hard", float(score[i]), "full rate") for i in _peaks(score, 0.5, _PEAK_FRAMES)]


def _still(curves: Mapping[str, np.ndarray], config: ScenesConfig) -> list[Transition]:
    still = (curves["within_16"] <= config.still_within) & (curves["structure"] >= config.still_structure)
    score = np.where(still, as_score(curves["between_16"], config.still_between), 0.0)
    return [Transition(i, i, i, "hard", float(score[i]), "still screens") for i in _peaks(score, 0.5, _PEAK_FRAMES)]


def _shifted(curve: np.ndarray, frames: int) -> np.ndarray:
    """Values `frames` later; the ends repeat."""
    return curve[np.clip(np.arange(len(curve)) + frames, 0, len(curve) - 1)]


def gradual_evidence(curves: Mapping[str, np.ndarray], gap: int) -> np.ndarray:
    """Evidence for a gradual transition no longer than `gap` frames centred on each frame, float64 [N].

    Change across the gap over the variation of the sides, times its excess over the change one gap earlier and later
    (a pan changes all the time), less where the middle lies outside the two sides (motion) unless it is flat (a fade).
    """
    between, within = curves[f"span_between_{gap}"], curves[f"span_within_{gap}"]
    before, after = (_shifted(between, s * (gap + SIDE_FRAMES)) for s in (-1, 1))
    excess = between / ((before + after) / 2 + _NOISE)
    sides = np.minimum(_shifted(curves["contrast"], -gap // 2 - SIDE_FRAMES // 2), _shifted(curves["contrast"], gap // 2 + SIDE_FRAMES // 2))
    dips = curves["contrast"] < _DIP * sides
    monotone = np.where(dips, 1.0, np.clip(1.0 - 2.0 * curves[f"span_overshoot_{gap}"], 0.0, 1.0))
    return between / (within + _NOISE) * np.minimum(excess, 3.0) * monotone


def gradual_candidates(curves: Mapping[str, np.ndarray], config: ScenesConfig) -> list[Transition]:
    """Peaks of the evidence at every gap, not yet merged; score 0.5 at the threshold."""
    found = []
    for gap in SPAN_FRAMES:
        score = as_score(gradual_evidence(curves, gap), config.gradual_evidence)
        score = np.where(curves[f"span_structure_{gap}"] >= config.hard_structure, score, 0.0)
        for i in _peaks(score, 0.2, gap // 2):
            start, end = max(i - gap // 2, 0), min(i + gap // 2, len(score))
            found.append(Transition(i, start, end, "gradual", float(score[i]), f"gap {gap}"))
    return found
