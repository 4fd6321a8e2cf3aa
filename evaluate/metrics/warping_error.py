"""Warping error: what changes from frame to frame besides what moves."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from clipmill.curate.annotators.motion import pair_flow
from clipmill.evaluate.frames.flow import MIN_SIDE_PX, luma, pulled, scaled
from clipmill.evaluate.metrics import VideoMetric


@dataclass(frozen=True)
class WarpingError(VideoMetric):
    """Mean squared difference, colours in [0, 1], between a frame and the next one pulled back along the flow, over
    pixels that are seen in both; mean over pairs of frames. Lai et al., "Learning Blind Video Temporal Consistency",
    ECCV 2018, equations 6 and 7, with Farneback flow in place of a network. Which pixels count: Ruder et al., GCPR
    2016, section 3.3.

    short_side_px: size at which it is measured; values at two sizes do not compare.
    """

    title: ClassVar[str] = "warping error (Farneback flow)"
    higher_is_better: ClassVar[bool | None] = False

    short_side_px: int = 256

    def __call__(self, video: np.ndarray, fps: float) -> float:
        """uint8 [T, H, W, 3] -> value >= 0; NaN for one frame, below 8 px, or where no pixel is seen twice."""
        if len(video) < 2 or min(video.shape[1:3]) < MIN_SIDE_PX:
            return float("nan")
        small = scaled(video, self.short_side_px)
        lumas = [luma(frame) for frame in small]
        errors = []
        for t in range(len(small) - 1):
            forward, in_view = pair_flow(lumas[t], lumas[t + 1])
            seen = in_view & seen_in_both(forward, pair_flow(lumas[t + 1], lumas[t])[0])
            if seen.any():
                back = pulled(small[t + 1].astype(np.float32), forward)
                errors.append(np.square((back - small[t]) / 255).sum(axis=2)[seen].mean())
        return float(np.mean(errors)) if errors else float("nan")

    def why_nothing(self, video: np.ndarray, fps: float) -> str:
        """See `VideoMetric`."""
        if len(video) < 2:
            return "one frame alone"
        return (
            f"a picture below {MIN_SIDE_PX} px"
            if min(video.shape[1:3]) < MIN_SIDE_PX
            else "no pixel is seen in two frames"
        )


def seen_in_both(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """bool [H, W]: where the flow there and back agrees and has no edge (edges of motion are where flow is least
    certain).

    forward, backward: float32 [H, W, 2], px.
    """
    returned = pulled(backward, forward)
    strength = np.square(forward).sum(axis=2)
    agrees = np.square(forward + returned).sum(axis=2) <= 0.01 * (strength + np.square(returned).sum(axis=2)) + 0.5
    steps = [np.square(np.gradient(forward, axis=axis)).sum(axis=2) for axis in (0, 1)]
    return agrees & (steps[0] + steps[1] <= 0.01 * strength + 0.002)
