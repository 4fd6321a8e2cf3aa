"""Cut detection: cheap curves for every frame, a multi-rate cascade over them, a network where they are unsure.

May import: settings, errors, the signs of engines. It sees curves and thumbnails, and opens no video.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from clipmill.curate.errors import UserError
from clipmill.curate.scenes.transition import Transition
from clipmill.curate.settings.scenes import DETECTORS, RULES, ScenesConfig

if TYPE_CHECKING:
    from clipmill.curate.scenes.transnet import WindowNetwork


def detect(
    curves: Mapping[str, np.ndarray],
    t_s: np.ndarray,
    config: ScenesConfig,
    read_thumbs: Callable[[int, int], np.ndarray] | None = None,
    network: "WindowNetwork | None" = None,
) -> tuple[list[Transition], np.ndarray | None]:
    """Shot boundaries of one video with the configured detector, in order of time.

    curves: name -> float32 [N] (CurveBuilder's, plus "network" where an earlier run stored it); t_s: float64 [N], s.
    read_thumbs(start, stop) -> uint8 [stop - start, 27, 48, 3] and the network are needed by `fused` and `transnetv2`
    alone; without them they decide on the stored "network" curve. The second value is the network's probability of
    every frame, float32 [N], NaN where it did not look; None for detectors without it. Raises UserError for an unknown
    detector or unknown rules.
    """
    from clipmill.curate.scenes.slow_frames import with_slow_cuts

    if config.rules not in RULES:
        raise UserError(f"there are no rules {config.rules!r} for cuts; there are: {', '.join(RULES)}")
    found, looked = _detected(curves, t_s, config, read_thumbs, network)
    return with_slow_cuts(found, curves, t_s, config), looked


def _detected(
    curves: Mapping[str, np.ndarray],
    t_s: np.ndarray,
    config: ScenesConfig,
    read_thumbs: Callable[[int, int], np.ndarray] | None,
    network: "WindowNetwork | None",
) -> tuple[list[Transition], np.ndarray | None]:
    if config.detector == "cascade":
        from clipmill.curate.scenes import cascade

        return cascade.detect(curves, t_s, config), None
    if config.detector == "fused":
        from clipmill.curate.scenes import fused

        return fused.detect(curves, t_s, config, read_thumbs, network)
    if config.detector == "transnetv2":
        from clipmill.curate.scenes import transnet

        return transnet.detect(curves, read_thumbs, len(t_s), config, network)
    raise UserError(f"no cut detector called {config.detector!r}; there are: {', '.join(DETECTORS)}")


def scores(curves: Mapping[str, np.ndarray], config: ScenesConfig, looked: np.ndarray | None = None) -> np.ndarray:
    """Cut score of every frame, float32 [N], 0 to 1: how strongly a boundary before this frame is suspected.

    The network's probability where it looked (`looked`, as `detect` returned it), else the score of the cascade's hard
    cuts, 0.5 at its threshold. Its highest value inside a span is the span's `cut_residual`.
    """
    from clipmill.curate.scenes import cascade

    real = cascade.replaced(curves, config.hard_structure, config.light)
    score = np.where(real, cascade.as_score(cascade.hard_evidence(curves), config.hard_evidence), 0.0).astype(
        np.float32
    )
    if looked is not None and len(looked):
        before = np.concatenate([[np.nan], looked[:-1]])
        score = np.where(np.isnan(before), score, before).astype(np.float32)
    return score
