"""Frames as CLIP sees them, for metrics that measure single videos."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipmill.curate.common.device import own_device
from clipmill.evaluate.frames.protocol import Protocol

if TYPE_CHECKING:
    from clipmill.evaluate.features.clip import CLIP

_PICTURES = Protocol(name="clip-frames", version=1, resize="bilinear-antialias", geometry="short-side-crop")


@dataclass(frozen=True)
class ClipFrames:
    """model, pretrained, weights: see `clipmill.evaluate.features.clip`. device: auto, cpu or cuda. The network is
    loaded when first needed.
    """

    model: str
    pretrained: str
    weights: str | None = None
    device: str = "auto"

    @cached_property
    def network(self) -> "CLIP":
        """Raises UserError where its weights are missing."""
        from clipmill.evaluate.features.clip import CLIP

        weights = None if self.weights is None else Path(self.weights)
        return CLIP(own_device(self.device), weights, model=self.model, pretrained=self.pretrained)

    def frames(self, video: np.ndarray) -> np.ndarray:
        """uint8 [T, H, W, 3] -> float64 [T, D], each of length 1. Short side to the network's size, centre crop."""
        import torch

        from clipmill.evaluate.frames.resize import preprocess

        with torch.inference_mode():
            return self.network(preprocess(video, _PICTURES, self.network.side_px)[None])[0].double().cpu().numpy()

    def text(self, caption: str) -> np.ndarray:
        """float64 [D], of length 1."""
        import torch

        with torch.inference_mode():
            return self.network.text([caption])[0].double().cpu().numpy()
