"""Cuts where a frame stays on the screen for a second and more: slides, screen recordings, one photo at a time.

The other detectors compare a change with the frames around it, and slides have nothing but changes around them.
"""

from collections.abc import Mapping

import numpy as np

from clipmill.curate.scenes.cascade import as_score, replaced
from clipmill.curate.scenes.transition import Transition
from clipmill.curate.settings.scenes import ScenesConfig

_SLOW_S = 0.95  # one frame a second, and a little jitter
# Code values of `jump`: between two photos 40 to 200; a camera held by hand makes up to 30 within a second, but no
# colour comes or goes.
_DIFFERENT = 40.0
_RECOLOURED = (15.0, 0.25)  # jump, colour_jump


def with_slow_cuts(
    found: list[Transition], curves: Mapping[str, np.ndarray], t_s: np.ndarray, config: ScenesConfig
) -> list[Transition]:
    """`found`, and a cut at every very different frame that comes a second or more after the one before it, in order
    of time. A gradual transition that such a cut lies in is none.
    """
    held = np.diff(t_s, prepend=t_s[:1]) >= _SLOW_S
    if not held.any():
        return found
    recoloured = (curves["jump"] >= _RECOLOURED[0]) & (curves["colour_jump"] >= _RECOLOURED[1])
    different = ((curves["jump"] >= _DIFFERENT) | recoloured) & replaced(curves, config.hard_structure, config.light)
    cuts = np.flatnonzero(held & different).tolist()
    kept = [t for t in found if t.kind == "hard" or not any(t.start <= i <= t.end for i in cuts)]
    there = {t.frame for t in kept if t.kind == "hard"}
    scores = as_score(curves["jump"], _DIFFERENT)
    new = [Transition(i, i, i, "hard", float(scores[i]), "slow frames") for i in cuts if i not in there]
    return sorted(kept + new)
