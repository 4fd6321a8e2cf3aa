"""Dynamic degree: how fast things move."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from clipmill.curate.annotators.motion import flow_maps
from clipmill.evaluate.frames.flow import luma, scaled
from clipmill.evaluate.metrics import VideoMetric


@dataclass(frozen=True)
class DynamicDegree(VideoMetric):
    """Mean magnitude of Farneback flow, >= 0, measured as `curate` measures its motion column, but on frames
    `interval_s` apart (clips of generated video are too short for two frames a second). Neither high nor low is good:
    compare with the real set's value.

    interval_s: seconds between the frames of a pair, as nearly as the frame rate allows. short_side_px: size at which
    flow is computed.
    min_contrast: standard deviation of luma, levels of 255, below which nothing can be seen to move.
    """

    title: ClassVar[str] = "dynamic degree"
    unit: ClassVar[str] = "short sides/s"

    interval_s: float = 0.25
    short_side_px: int = 64
    min_contrast: float = 4.0

    def __call__(self, video: np.ndarray, fps: float) -> float:
        """uint8 [T, H, W, 3] -> short sides per second; NaN for one frame, an unknown rate, or a picture without
        contrast.
        """
        if len(video) < 2 or not np.isfinite(fps):
            return float("nan")
        step = min(max(1, round(self.interval_s * fps)), len(video) - 1)
        lumas = np.stack([luma(frame) for frame in scaled(video[::step], self.short_side_px)])
        if float(np.median(lumas.std(axis=(1, 2)))) < self.min_contrast:
            return float("nan")
        maps, dt_s = flow_maps(lumas, np.arange(len(lumas)) * step / fps, self.short_side_px)
        if not maps:
            return float("nan")
        return float(
            np.mean([np.average(m.magnitude, weights=m.weight) / dt for m, dt in zip(maps, dt_s, strict=True)])
        )

    def why_nothing(self, video: np.ndarray, fps: float) -> str:
        """See `VideoMetric`."""
        if len(video) < 2:
            return "one frame alone"
        if not np.isfinite(fps):
            return "no rate is known, and it counts seconds: declare one, for example --fake-set stored_fps=24"
        return f"too little contrast to see motion (below {self.min_contrast:g} levels)"
