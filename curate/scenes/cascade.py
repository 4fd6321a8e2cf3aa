"""The multi-rate cascade: shot boundaries from the stored curves alone.

Three questions, asked of every frame in turn; an answer explains its neighbourhood, so a later question adds only what
the earlier ones cannot explain:

1. Full rate: is the one-frame change far above the changes around it, in picture and in colour, and is the picture
   replaced? (hard cuts; their times come from here)
2. Still screens: do two stretches without any motion differ? (slides, screen recordings: too small a change for 1.)
3. Lower rates: over gaps of 8, 16, 32 and 64 frames, do the two sides differ far beyond their own variation, more than
one
   gap earlier or later, with every pixel on its way from one side to the other? (dissolves, fades, wipes, as intervals)
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from clipmill.curate.scenes.curves import SIDE_FRAMES, SPAN_FRAMES
from clipmill.curate.scenes.transition import Transition
from clipmill.curate.settings.scenes import ScenesConfig

_NEIGHBOURS = 4
_NOISE = 1.5
_COLOUR_NOISE = 0.01
_PEAK_FRAMES = 3
_DIP = 0.25
_FLAT_CONTRAST = 6.0
_BLACK_CONTRAST = 1.0
_FLAT_S = 2.0
_LASTING = 0.3
_END_S = 0.5
_UNRELATED = 50.0
_RECOLOURED = 0.97
_STILL_TURNED = 0.1  # nothing moves there that could turn a slope
_BESIDE = 6  # frames
_SPREAD = 0.35
_OTHER = 0.5
_STAYS = 0.85
_SEEN, _GREAT = 12.0, 40.0  # code values
_GREAT_SHARE = 0.75
_OVERSHOOT = 0.25


def detect(curves: Mapping[str, np.ndarray], t_s: np.ndarray, config: ScenesConfig) -> list[Transition]:
    """Transitions in order of time. curves: name -> float32 [N] of CurveBuilder; t_s: float64 [N], s."""
    found = hard_candidates(curves, config.hard_evidence, config.hard_structure, config.light)
    found += unexplained(still_screens(curves, config), found, len(t_s), _PEAK_FRAMES)
    slow = gradual_candidates(curves, config.gradual_evidence, config.hard_structure)
    return tidy(found + strongest(slow, found, len(t_s)), curves, t_s, config)


def obvious(curves: Mapping[str, np.ndarray], config: ScenesConfig) -> list[Transition]:
    """Changes between still screens, hard cuts far above the threshold, and sharp changes that last."""
    found, n = still_screens(curves, config), len(curves["jump"])
    sharp = hard_candidates(curves, config.obvious_factor * config.hard_evidence, config.hard_structure, config.light)
    found += unexplained(sharp, found, n, _PEAK_FRAMES)
    return found if config.first_rules else found + unexplained(lasting_cuts(curves, config), found, n, _PEAK_FRAMES)


def unexplained(candidates: list[Transition], found: list[Transition], n: int, reach: int) -> list[Transition]:
    """Candidates whose intervals, `reach` frames either side included, hold no boundary of `found` nor an earlier
    candidate.
    """
    taken = np.zeros(n + 1, bool)
    for t in found:
        taken[t.start : t.end + 1] = True
    chosen = []
    for t in candidates:
        if not taken[max(t.start - reach, 0) : t.end + reach + 1].any():
            taken[t.start : t.end + 1] = True
            chosen.append(t)
    return chosen


def strongest(candidates: list[Transition], found: list[Transition], n: int) -> list[Transition]:
    """Gradual candidates, the strongest first, that neither `found` nor a stronger one explains."""
    return unexplained(sorted(candidates, key=lambda t: (-t.score, t.frame)), found, n, SIDE_FRAMES // 2)


def tidy(
    found: list[Transition], curves: Mapping[str, np.ndarray], t_s: np.ndarray, config: ScenesConfig
) -> list[Transition]:
    """In order of time; a fade out, flat frames and a fade in become one; flat ends of the video are no shots;
    intervals widened.
    """
    out: list[Transition] = []
    for t in sorted(found):
        last = out[-1] if out else None
        if last and last.kind == t.kind == "gradual" and _blank_between(last, t, curves, t_s, config):
            middle = (last.start + t.end) // 2
            out[-1] = Transition(middle, last.start, t.end, "gradual", max(last.score, t.score), t.detector)
        else:
            out.append(t)
    return _widened([t for t in out if t.kind == "hard" or not _at_an_end(t, curves, t_s, config)], len(t_s))


def _widened(found: list[Transition], n: int) -> list[Transition]:
    """Gradual intervals with a quarter of their length more on each side (a gap may be shorter than the change), up to
    their neighbours.
    """
    out = []
    for i, t in enumerate(found):
        more = 0 if t.kind == "hard" else max(1, (t.end - t.start) // 4)
        low = found[i - 1].end if i else 0
        high = found[i + 1].start if i + 1 < len(found) else n
        start, end = max(t.start - more, min(low, t.start)), min(t.end + more, max(high, t.end))
        out.append(replace(t, start=start, end=end))
    return out


def _blank_between(
    last: Transition, t: Transition, curves: Mapping[str, np.ndarray], t_s: np.ndarray, config: ScenesConfig
) -> bool:
    """Whether the frames between two fades hold no picture and are too few for a shot of their own."""
    if t.start < last.end and not config.first_rules:  # two halves of one: it is blank between their middles
        return bool(curves["contrast"][last.frame : t.frame + 1].min(initial=np.inf) < _FLAT_CONTRAST)
    low, high = min(last.end, t.start, len(t_s) - 1), max(last.end, t.start) + 1
    between = curves["contrast"][low:high]
    blank = between.min() < _FLAT_CONTRAST and np.median(between) < 2 * _FLAT_CONTRAST
    return bool(blank) and t_s[t.start] - t_s[low] <= _FLAT_S


def _at_an_end(t: Transition, curves: Mapping[str, np.ndarray], t_s: np.ndarray, config: ScenesConfig) -> bool:
    """Whether next to nothing comes before or after the transition: less than half a second of black, say."""
    contrast, n = curves["contrast"], len(t_s)
    start, end = t.start, t.end
    if config.first_rules:
        picture = np.flatnonzero(contrast >= _FLAT_CONTRAST)
        if max(int(picture[0]) if len(picture) else n, 1) >= start:
            return True
    else:
        black = np.flatnonzero(contrast < _BLACK_CONTRAST)
        before, after = black[(black >= start) & (black <= t.frame)], black[(black >= t.frame) & (black <= end)]
        start, end = int(before[-1]) + 1 if len(before) else start, int(after[0]) if len(after) else end
        if t_s[min(start, n - 1)] - t_s[0] < _END_S:
            return True
    return bool(t_s[-1] - t_s[min(end, n - 1)] < _END_S)


def contrast(curve: np.ndarray, floor: float) -> np.ndarray:
    """Ratio of each value to the mean of its 4 neighbours on either side (itself left out) plus `floor`, float64
    [N].
    """
    if len(curve) == 0:
        return curve.astype(np.float64)
    padded = np.pad(curve.astype(np.float64), _NEIGHBOURS, mode="reflect" if len(curve) > _NEIGHBOURS else "edge")
    sums = np.concatenate([[0.0], np.cumsum(padded)])
    window = 2 * _NEIGHBOURS + 1
    around = (sums[window:] - sums[:-window] - curve) / (window - 1)
    return curve / (around + floor)


def hard_evidence(curves: Mapping[str, np.ndarray]) -> np.ndarray:
    """Contrast of the one-frame change, times the root of that of the colour histogram (which motion leaves alone),
    float64 [N].
    """
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


def replaced(curves: Mapping[str, np.ndarray], least: float, turned: float) -> np.ndarray:
    """Whether the picture was replaced at each frame, in structure or in colour, bool [N]; an overlay replaces little
    of either. Where less than `turned` of the slopes point elsewhere, the light has changed and no more, unless hardly
    any colour is left.
    """
    other_picture = (curves["structure"] >= least) | (curves["colour_jump"] >= least)
    return other_picture & ((turned_slopes(curves) >= turned) | (curves["colour_jump"] >= _RECOLOURED))


def turned_slopes(curves: Mapping[str, np.ndarray]) -> np.ndarray:
    """The curve "turned", float32 [N]; all 1, which vetoes nothing, where an earlier version stored none."""
    return curves["turned"] if "turned" in curves else np.ones(len(curves["jump"]), np.float32)


def hard_candidates(
    curves: Mapping[str, np.ndarray], evidence: float, structure: float, turned: float
) -> list[Transition]:
    """Peaks of the hard evidence from `evidence` up (score 0.5 there) where at least `structure` of the picture is
    replaced for good, and not by light alone (see `replaced`).
    """
    real = replaced(curves, structure, turned) & (curves["between_4"] >= curves["within_4"]) & _lasting(curves)
    score = np.where(real, as_score(hard_evidence(curves), evidence), 0.0)
    return [Transition(i, i, i, "hard", float(score[i]), "full rate") for i in _peaks(score, 0.5, _PEAK_FRAMES)]


def _lasting(curves: Mapping[str, np.ndarray]) -> np.ndarray:
    """Whether the change is still there 4 to 12 frames on, against the same before: not so after a flash. bool [N].

    The ends of the video cannot tell and count as lasting.
    """
    lasting = curves["span_between_8"] >= _LASTING * curves["jump"]
    reach = SPAN_FRAMES[0] // 2 + SIDE_FRAMES
    lasting[:reach] = lasting[-reach:] = True
    return lasting


def lasting_cuts(curves: Mapping[str, np.ndarray], config: ScenesConfig) -> list[Transition]:
    """Sharp changes that stay: one frame's step far above every step around it, and as far from what was before 4, 8
    and 16 frames on. Jump cuts and punch-ins, which leave the background where it was and so escape a network. The
    larger the step, the less of the picture must be replaced: an overlay is a small step.
    """
    jump = curves["jump"]
    alone = jump >= config.lasting_factor * (_largest_beside(jump) + _NOISE)
    stays = np.minimum.reduce([curves[f"between_{k}"] for k in (4, 8, 16)]) >= _STAYS * jump
    if "turned" not in curves:  # stored by an earlier version: nothing tells a cut from an overlay
        return []
    share = np.where(jump >= _GREAT, _GREAT_SHARE, 1.0)
    other = (curves["structure"] >= share * config.lasting_structure) & (
        curves["turned"] >= share * config.lasting_turned
    )
    real = other & alone & stays & (jump >= _SEEN)
    score = np.where(real, as_score(hard_evidence(curves), config.lasting_share * config.hard_evidence), 0.0)
    return [Transition(i, i, i, "hard", float(score[i]), "lasting") for i in _peaks(score, 0.5, _PEAK_FRAMES)]


def _largest_beside(curve: np.ndarray) -> np.ndarray:
    """The largest value among the 6 frames on either side of each, itself left out, [N]; the first frame has no step
    before it.
    """
    around = [_shifted(curve, k) for k in range(-_BESIDE, _BESIDE + 1) if k]
    return np.maximum.reduce(around) if len(curve) else curve


def still_screens(curves: Mapping[str, np.ndarray], config: ScenesConfig) -> list[Transition]:
    """Changes between two stretches of 16 frames without motion."""
    still = (curves["within_16"] <= config.still_within) & replaced(
        curves, config.still_structure, min(config.light, _STILL_TURNED)
    )
    score = np.where(still, as_score(curves["between_16"], config.still_between), 0.0)
    return [Transition(i, i, i, "hard", float(score[i]), "still screens") for i in _peaks(score, 0.5, _PEAK_FRAMES)]


def _shifted(curve: np.ndarray, frames: int) -> np.ndarray:
    """Values `frames` later; the ends repeat."""
    return curve[np.clip(np.arange(len(curve)) + frames, 0, len(curve) - 1)]


def _box_mean(curve: np.ndarray, radius: int) -> np.ndarray:
    """Mean of each value and its `radius` neighbours on either side; the ends repeat."""
    return np.mean([_shifted(curve, k) for k in range(-radius, radius + 1)], axis=0)


def gradual_evidence(curves: Mapping[str, np.ndarray], gap: int) -> np.ndarray:
    """Evidence for a gradual transition no longer than `gap` frames centred on each frame, float64 [N].

    Change across the gap over the variation of the sides, times its excess over the change one gap earlier and later
    (a pan changes all the time), less where the middle lies outside the two sides (motion) unless it is flat (a fade).
    """
    between, within = curves[f"span_between_{gap}"], curves[f"span_within_{gap}"]
    before, after = (_shifted(between, side * (gap + SIDE_FRAMES)) for side in (-1, 1))
    excess = np.clip(between / (np.maximum(before, after) + _NOISE), 0.5, 2.0)
    reach = gap // 2 + SIDE_FRAMES // 2
    sides = np.minimum(_shifted(curves["contrast"], -reach), _shifted(curves["contrast"], reach))
    flat = _box_mean(curves["contrast"], gap // 8) < _DIP * sides
    outside = np.where(flat, 0.0, curves[f"span_overshoot_{gap}"])
    size = between / _UNRELATED * np.sqrt(SPAN_FRAMES[0] / gap)
    return between / (within + _NOISE) * size * np.sqrt(excess) * np.exp(-outside / _OVERSHOOT)


def is_spread(t: Transition, curves: Mapping[str, np.ndarray]) -> bool:
    """Whether the change of a gradual candidate is spread over its frames: no step of exposure, no whip pan."""
    gap, low = _gap(t), max(t.start - 2, 1)
    return bool(curves["jump"][low : t.end + 3].max(initial=0.0) <= _SPREAD * curves[f"span_between_{gap}"][t.frame])


def is_plain(t: Transition, curves: Mapping[str, np.ndarray], evidence: float) -> bool:
    """Whether a gradual candidate needs no network: evidence of at least `evidence` at its gap, and another picture
    after it, not the same in another light.
    """
    gap = _gap(t)
    other = curves.get(f"span_other_{gap}")
    if other is None or other[t.frame] < _OTHER:
        return False
    return bool(gradual_evidence(curves, gap)[t.frame] >= evidence)


def _gap(t: Transition) -> int:
    """The gap of a gradual candidate, frames."""
    return int(t.detector.split()[1])


def gradual_candidates(curves: Mapping[str, np.ndarray], evidence: float, structure: float) -> list[Transition]:
    """Peaks of the gradual evidence at every gap from `evidence` up (score 0.5 there), not yet merged, in order of
    time.
    """
    found = []
    for gap in SPAN_FRAMES:
        score = as_score(gradual_evidence(curves, gap), evidence)
        score = np.where(curves[f"span_structure_{gap}"] >= structure, score, 0.0)
        for i in _peaks(score, 0.5, gap // 2):
            start, end = max(i - gap // 2, 0), min(i + gap // 2, len(score))
            found.append(Transition(i, start, end, "gradual", float(score[i]), f"gap {gap}"))
    return sorted(found)
