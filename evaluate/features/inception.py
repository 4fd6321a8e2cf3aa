"""Inception-v3 features of single frames, for FID and KID."""

from pathlib import Path
from typing import Any, ClassVar

import torch

from clipmill.curate.errors import UserError
from clipmill.evaluate.features import FeatureNetwork
from clipmill.evaluate.networks.inception import InceptionFrames


class Inception(FeatureNetwork):
    """The 2048 pooled values before the last layer (Heusel et al. 2017, arXiv 1706.08500, use those of the graph of
    2015).

    The distance is called FID only where the file is proven, by its checksum, to be the published port of that graph.
    """

    side_px: ClassVar[int] = 299
    dim: ClassVar[int] = 2048
    per_frame: ClassVar[bool] = True

    def __init__(self, device: str = "cpu", weights: Path | None = None, **options: Any) -> None:
        """weights: state dict of the port for FID or of torchvision. Raises UserError where it is missing or wrong."""
        if options:
            raise UserError(f"the network inception takes no {', '.join(options)}")
        self._frames = InceptionFrames(device, weights)
        self.label = f"Inception, {self._frames.variant}"

    @property
    def _published(self) -> bool:
        return self._frames.variant == "fid" and self._frames.proven

    @property
    def frechet_name(self) -> str:
        """FID where the weights are proven."""
        return "FID" if self._published else super().frechet_name

    @property
    def kernel_name(self) -> str:
        """KID where the weights are proven."""
        return "KID" if self._published else super().kernel_name

    @property
    def identity(self) -> str:
        """Variant and checksum of the weights."""
        return f"{self._frames.identity}, pooled"

    def __call__(self, videos: torch.Tensor) -> torch.Tensor:
        """float32 [B, T, 3, 299, 299] in [-1, 1] -> float32 [B, T, 2048]. Raises UserError for other sizes."""
        return self._frames.pooled(videos)
