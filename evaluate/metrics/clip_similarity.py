"""CLIP similarity: does the video show what its caption says."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from clipmill.evaluate.metrics import TextMetric
from clipmill.evaluate.metrics._clip_frames import ClipFrames


@dataclass(frozen=True)
class ClipSimilarity(TextMetric):
    """Cosine between the caption's CLIP feature and each frame's, mean over frames, -1 to 1 (CLIPSIM: Wu et al. 2021,
    arXiv 2104.14806).

    model, pretrained: as open_clip names them; values of two networks do not compare. weights: a local file for them.
    """

    title: ClassVar[str] = "CLIP similarity to the caption"
    higher_is_better: ClassVar[bool | None] = True

    model: str = "ViT-B-32"
    pretrained: str = "laion2b_s34b_b79k"
    weights: str | None = None

    def __call__(self, video: np.ndarray, caption: str) -> float:
        """uint8 [T, H, W, 3] and its text -> value. Raises UserError where the network's weights are missing."""
        return self._loaded(video, caption)

    @cached_property
    def _loaded(self) -> Callable[[np.ndarray, str], float]:
        return self.on("auto")

    def on(self, device: str) -> Callable[[np.ndarray, str], float]:
        """With CLIP on `device`."""
        clip = ClipFrames(self.model, self.pretrained, self.weights, device)
        return lambda video, caption: float((clip.frames(video) @ clip.text(caption)).mean())
