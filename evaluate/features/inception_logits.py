"""Inception-v3 classes of single frames, for the Inception Score."""

from pathlib import Path
from typing import Any, ClassVar

import torch

from clipmill.curate.errors import UserError
from clipmill.evaluate.features import FeatureNetwork
from clipmill.evaluate.networks.inception import TORCHVISION_CLASSES, InceptionFrames


class InceptionLogits(FeatureNetwork):
    """What the last layer says of each class, not normalised; 1008 values where the weights are those of the graph of
    2015.
    """

    side_px: ClassVar[int] = 299
    dim: ClassVar[int] = TORCHVISION_CLASSES
    per_frame: ClassVar[bool] = True

    def __init__(self, device: str = "cpu", weights: Path | None = None, **options: Any) -> None:
        """weights: state dict of the port for FID or of torchvision. Raises UserError where it is missing or wrong."""
        if options:
            raise UserError(f"the network inception-logits takes no {', '.join(options)}")
        self._frames = InceptionFrames(device, weights)
        self.dim = self._frames.classes  # type: ignore[misc]
        self.label = f"Inception logits, {self._frames.variant}"

    @property
    def identity(self) -> str:
        """Variant and checksum of the weights."""
        return f"{self._frames.identity}, logits"

    def __call__(self, videos: torch.Tensor) -> torch.Tensor:
        """float32 [B, T, 3, 299, 299] in [-1, 1] -> float32 [B, T, classes]. Raises UserError for other sizes."""
        return self._frames.logits(videos)
