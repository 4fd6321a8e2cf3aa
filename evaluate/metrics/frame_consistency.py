"""Frame consistency: does each frame show what the one before it showed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from clipmill.evaluate.metrics import VideoMetric
from clipmill.evaluate.metrics._clip_frames import ClipFrames


@dataclass(frozen=True)
class FrameConsistency(VideoMetric):
    """Cosine between the CLIP features of neighbouring frames, mean over pairs, -1 to 1 (Gen-1: Esser et al. 2023,
    arXiv 2302.03011). A still picture scores 1.

    model, pretrained: as open_clip names them; values of two networks do not compare. weights: a local file for them.
    """

    title: ClassVar[str] = "frame consistency (CLIP)"
    higher_is_better: ClassVar[bool | None] = True

    model: str = "ViT-B-32"
    pretrained: str = "laion2b_s34b_b79k"
    weights: str | None = None

    def __call__(self, video: np.ndarray, fps: float) -> float:
        """uint8 [T, H, W, 3] -> value; NaN for one frame. Raises UserError where the network's weights are missing."""
        return self._loaded(video, fps)

    @cached_property
    def _loaded(self) -> Callable[[np.ndarray, float], float]:
        return self.on("auto")

    def on(self, device: str) -> Callable[[np.ndarray, float], float]:
        """With CLIP on `device`."""
        clip = ClipFrames(self.model, self.pretrained, self.weights, device)

        def consistency(video: np.ndarray, fps: float) -> float:
            if len(video) < 2:
                return float("nan")
            features = clip.frames(video)
            return float((features[1:] * features[:-1]).sum(axis=1).mean())

        return consistency
