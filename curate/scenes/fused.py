"""The default detector: the curves propose, the network looks only there, both decide.

What the network misses (changes between still screens) the curves see; what the curves cannot tell from motion (slow
changes, whip pans, flashes) the network can. Obvious hard cuts need no second opinion.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping

import numpy as np

from clipmill.curate.scenes import cascade
from clipmill.curate.scenes.curves import SPAN_FRAMES
from clipmill.curate.scenes.transition import Transition
from clipmill.curate.scenes.transnet import WINDOW_FRAMES, WindowNetwork, boundaries, look
from clipmill.curate.settings.scenes import ScenesConfig

_REACH_FRAMES = 4
_SAME_FRAMES = 2
_SLOW_FRAMES = 16
# Fewer than the published 25: most of what is looked at is context. On 35,506 labelled frames a third less work cost
# 0.01 of F1.
_CONTEXT_FRAMES = 16
_JOIN_FRAMES = 2 * _CONTEXT_FRAMES


def detect(
    curves: Mapping[str, np.ndarray],
    t_s: np.ndarray,
    config: ScenesConfig,
    read_thumbs: Callable[[int, int], np.ndarray] | None,
    network: WindowNetwork | None,
) -> tuple[list[Transition], np.ndarray]:
    """Transitions in order of time, and the network's probability of every frame, float32 [N], NaN where it did not
    look.

    curves: of CurveBuilder, with an optional "network" curve from an earlier run, which is used where it is known.
    read_thumbs(start, stop) -> uint8 [stop - start, 27, 48, 3]; None (or no network): only what is known already.
    """
    probability = curves.get("network", np.full(len(t_s), np.nan)).astype(np.float32)
    if network is not None and read_thumbs is not None:
        for start, stop in windows(proposals(curves, config), probability):
            probability[start:stop] = look(read_thumbs, start, stop, len(t_s), network, _CONTEXT_FRAMES)
    return decide(curves, probability, t_s, config), probability


def proposals(curves: Mapping[str, np.ndarray], config: ScenesConfig) -> list[tuple[int, int]]:
    """Stretches [start, stop) of frames that may hold a boundary and are not obvious, in order of time."""
    settled = cascade.obvious(curves, config)
    n = len(curves["jump"])
    generous = cascade.hard_candidates(
        curves, config.propose_share * config.hard_evidence, config.propose_structure, config.light
    )
    slow = cascade.gradual_candidates(curves, config.propose_share * config.gradual_evidence, config.hard_structure)
    found = cascade.unexplained(generous, settled, n, 1) + cascade.strongest(slow, settled, n)
    cores = [(max(t.start, t.frame - _SLOW_FRAMES), min(t.end, t.frame + _SLOW_FRAMES)) for t in found]
    return sorted((max(start - _REACH_FRAMES, 0), min(end + _REACH_FRAMES, n)) for start, end in cores)


def windows(stretches: list[tuple[int, int]], probability: np.ndarray) -> list[tuple[int, int]]:
    """Stretches to look at: known ones left out, near ones joined where that saves context, long ones divided."""
    joined: list[tuple[int, int]] = []
    for start, stop in stretches:
        if not np.isnan(probability[start:stop]).any():
            continue
        if joined and start - joined[-1][1] <= _JOIN_FRAMES:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    step = WINDOW_FRAMES - _JOIN_FRAMES
    parts = [(start, stop, -(-(stop - start) // step)) for start, stop in joined]
    return [
        (start + (stop - start) * k // m, start + (stop - start) * (k + 1) // m)
        for start, stop, m in parts
        for k in range(m)
    ]


def decide(
    curves: Mapping[str, np.ndarray], probability: np.ndarray, t_s: np.ndarray, config: ScenesConfig
) -> list[Transition]:
    """Transitions from the curves and what the network said, in order of time; no decoding, no network."""
    n, found = len(t_s), cascade.obvious(curves, config)
    certain = cascade.hard_candidates(curves, config.hard_evidence, config.hard_structure, config.light)
    agreed = [t for t in certain if _beside(probability, t.frame) >= config.network_agreement]
    found += cascade.unexplained(agreed, found, n, _SAME_FRAMES)
    seen = cascade.unexplained(boundaries(probability, config.network_threshold), found, n, _SAME_FRAMES)
    found += _placed(_in_steady_light(seen, curves, config), curves, config)
    strong = cascade.gradual_candidates(curves, config.support_factor * config.gradual_evidence, config.hard_structure)
    supported = [_at_peak(t, probability) for t in strong if _is_supported(t, curves, probability, config)]
    return cascade.tidy(found + cascade.strongest(supported, found, n), curves, t_s, config)


def _is_supported(
    t: Transition, curves: Mapping[str, np.ndarray], probability: np.ndarray, config: ScenesConfig
) -> bool:
    """Whether a gradual candidate with strong evidence is one: by the network, or without it where the change is slow
    enough and another picture comes of it.
    """
    hesitant = _highest(probability, t) >= config.network_hesitation
    if config.first_rules:
        return hesitant
    alone = config.gradual_factor * config.gradual_evidence
    return cascade.is_spread(t, curves) and (hesitant or cascade.is_plain(t, curves, alone))


def _in_steady_light(
    seen: list[Transition], curves: Mapping[str, np.ndarray], config: ScenesConfig
) -> list[Transition]:
    """The network's boundaries without those at a step of exposure or white balance."""
    evidence, structure = config.propose_share * config.hard_evidence, config.propose_structure
    sharp = cascade.hard_candidates(curves, evidence, structure, 0.0)
    cuts = {t.frame for t in cascade.hard_candidates(curves, evidence, structure, config.light)}
    steps = [t.frame for t in sharp if t.frame not in cuts]
    return [t for t in seen if not any(t.start - _SAME_FRAMES <= i <= t.end + _SAME_FRAMES for i in steps)]


def _placed(seen: list[Transition], curves: Mapping[str, np.ndarray], config: ScenesConfig) -> list[Transition]:
    """The network's boundaries at the sharp or slow changes beside them; those left out where hardly any picture is
    replaced.
    """
    sharp = cascade.hard_candidates(
        curves, config.propose_share * config.hard_evidence, config.propose_structure, config.light
    )
    slow = cascade.gradual_candidates(curves, config.propose_share * config.gradual_evidence, config.hard_structure)
    replaced = cascade.replaced(curves, config.propose_structure, config.light)
    out = []
    for t in seen:
        beside = _around(sharp, t.frame, _SAME_FRAMES)
        within = [s for s in _around(slow, t.frame, max(SPAN_FRAMES)) if s.start <= t.frame <= s.end]
        thrown = bool(within) and not beside and not config.first_rules and not _is_slow(within, curves)
        if not thrown and (within or replaced[max(t.start - 1, 0) : t.end + 2].any()):
            out.append(_localised(t, beside, within))
    return out


def _is_slow(within: list[Transition], curves: Mapping[str, np.ndarray]) -> bool:
    """Whether the strongest slow change around a boundary of the network is one, and no whip pan."""
    return cascade.is_spread(max(within, key=lambda t: t.score), curves)


def _around(found: list[Transition], frame: int, reach: int) -> list[Transition]:
    """Those of `found` (in order of time) whose frame lies within `reach` of `frame`."""
    low = bisect_left(found, frame - reach, key=lambda t: t.frame)
    return found[low : bisect_right(found, frame + reach, key=lambda t: t.frame)]


def _beside(probability: np.ndarray, frame: int) -> float:
    """The highest known probability next to a hard cut; the network marks the frame before it."""
    return float(np.nan_to_num(probability[max(frame - 2, 0) : frame + 1]).max(initial=0.0))


def _highest(probability: np.ndarray, transition: Transition) -> float:
    """The highest known probability inside a transition; 0 where the network did not look."""
    return float(np.nan_to_num(probability[transition.start : transition.end]).max(initial=0.0))


def _at_peak(t: Transition, probability: np.ndarray) -> Transition:
    """The transition with its frame where the network's probability is highest, if it looked."""
    if np.isnan(probability[t.start : t.end]).all():
        return t
    frame = t.start + int(np.nanargmax(probability[t.start : t.end])) + 1
    return Transition(min(frame, t.end), t.start, t.end, t.kind, t.score, t.detector)


def _localised(seen: Transition, sharp: list[Transition], slow: list[Transition]) -> Transition:
    """A boundary of the network at the sharpest change beside it, or else with the interval of the strongest slow
    change around it.
    """
    if sharp:
        frame = max(sharp, key=lambda t: t.score).frame
        return Transition(frame, frame, frame, "hard", seen.score, seen.detector)
    if not slow:
        return seen
    best = max(slow, key=lambda t: t.score)
    return Transition(
        seen.frame, min(seen.start, best.start), max(seen.end, best.end), "gradual", seen.score, seen.detector
    )
