"""Motion smoothness: how well a frame follows from its two neighbours."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from clipmill.curate.annotators.motion import pair_flow
from clipmill.evaluate.frames.flow import MIN_SIDE_PX, luma, pulled, scaled
from clipmill.evaluate.metrics import VideoMetric


@dataclass(frozen=True)
class MotionSmoothness(VideoMetric):
    """(255 - mean |f_t - interpolation of f_t-1 and f_t+1|) / 255, 0 to 1: the definition of VBench (Huang et al. 2024,
    arXiv 2311.17982), with frames interpolated along Farneback flow (both neighbours pulled half the way, averaged) in
    place of a network.

    Every inner frame is left out once, where VBench leaves out every second. Pixels whose flow leaves the picture do
    not count.
    short_side_px: size at which it is measured; values at two sizes do not compare.
    """

    title: ClassVar[str] = "motion smoothness (flow interpolation; 1: every frame follows from its neighbours)"
    higher_is_better: ClassVar[bool | None] = True

    short_side_px: int = 128

    def __call__(self, video: np.ndarray, fps: float) -> float:
        """uint8 [T, H, W, 3] -> value; NaN below three frames or 8 px."""
        if len(video) < 3 or min(video.shape[1:3]) < MIN_SIDE_PX:
            return float("nan")
        small = scaled(video, self.short_side_px)
        lumas = [luma(frame) for frame in small]
        errors = [
            _error(small[t - 1], small[t], small[t + 1], *pair_flow(lumas[t - 1], lumas[t + 1]))
            for t in range(1, len(small) - 1)
        ]
        return float(1 - np.mean(errors) / 255)

    def why_nothing(self, video: np.ndarray, fps: float) -> str:
        """See `VideoMetric`."""
        return "fewer than three frames" if len(video) < 3 else f"a picture below {MIN_SIDE_PX} px"


def _error(before: np.ndarray, frame: np.ndarray, after: np.ndarray, flow: np.ndarray, in_view: np.ndarray) -> float:
    """Mean absolute error of the frame between two, in levels of 255. The flow at the middle is taken from the place in
    `before` that half of it leads from, so that it belongs to the content seen there.
    """
    middle = pulled(flow, -flow / 2)
    guess = (pulled(before.astype(np.float32), -middle / 2) + pulled(after.astype(np.float32), middle / 2)) / 2
    error = np.abs(guess - frame).mean(axis=2)
    return float(error[in_view].mean() if in_view.any() else error.mean())
