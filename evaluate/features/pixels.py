"""`pixels`: the clip itself at 32 px, for distances between videos that need no network."""

from pathlib import Path
from typing import Any, ClassVar

import torch

from clipmill.curate.errors import UserError
from clipmill.evaluate.features import FeatureNetwork


class PixelValues(FeatureNetwork):
    """Every value of every frame of a clip of any length, so that the root of the mean squared difference of two
    features is that of two clips.
    """

    side_px: ClassVar[int] = 32
    min_frames: ClassVar[int] = 1
    label: str = "pixels"

    def __init__(self, device: str = "cpu", weights: Path | None = None, **options: Any) -> None:
        """Nothing to load. Raises UserError where weights, or options, are given."""
        if weights is not None or options:
            raise UserError("the features called pixels have neither weights nor options")

    @property
    def identity(self) -> str:
        """Their definition."""
        return "pixels, 32 px, definition 1"

    def __call__(self, videos: torch.Tensor) -> torch.Tensor:
        """float32 [B, T, 3, 32, 32] in [-1, 1] -> float32 [B, 3072 T], the same numbers."""
        return videos.flatten(1)
