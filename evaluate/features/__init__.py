"""Feature networks, one per file: videos in, one vector each out. A new one is a new file, found by its name.

May import: networks, curate's weights, networks and common.
"""

import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from clipmill.curate.common.plugins import names as _names
from clipmill.curate.common.plugins import plugin

if TYPE_CHECKING:
    import torch


class FeatureNetwork(ABC):
    """Base of all feature networks. A subclass sets the class attributes, `__init__` and `__call__`.

    side_px: the size of the square pictures it takes. min_frames: shortest clip it can see. dim: length of a feature.
    per_frame: True where the features are one row per frame, [B, T, D], for metrics on pictures (FID, KID, Inception
    Score).
    label: how these features are called, for example "mini". frechet_name: how a Fréchet distance on them is called;
    "FVD" and "FID" only where the weights are proven to be those that the name is defined on. kernel_name: the same for
    the kernel distance.
    """

    side_px: ClassVar[int] = 224
    min_frames: ClassVar[int] = 1
    dim: ClassVar[int]
    per_frame: ClassVar[bool] = False
    label: str = "unnamed features"

    @abstractmethod
    def __init__(self, device: str = "cpu", weights: Path | None = None, **options: Any) -> None:
        """Load the network. weights: a local file, else the cache folder's. options: what a protocol fixes of the
        network itself, such as `bn_eps`. Raises UserError, in one line and within two seconds, where weights are
        missing or wrong.
        """

    @classmethod  # noqa: B027
    def check(cls, weights: Path | None) -> None:
        """Raise UserError where weights are missing; loads nothing, so that the answer comes at once."""

    @property
    def frechet_name(self) -> str:
        """The name of a Fréchet distance on these features: every name but a published one says which features it is
        of.
        """
        return f"Fréchet distance ({self.label})"

    @property
    def kernel_name(self) -> str:
        """The name of a kernel distance (MMD²) on these features."""
        return f"kernel distance ({self.label})"

    @property
    @abstractmethod
    def identity(self) -> str:
        """What decides the features besides their input, for the fingerprint: the network, its variant, a checksum of
        its weights.
        """

    @abstractmethod
    def __call__(self, videos: "torch.Tensor") -> "torch.Tensor":
        """float32 [B, T, 3, side_px, side_px] in [-1, 1], RGB -> float32 [B, D], or [B, T, D] where `per_frame`."""


def names() -> list[str]:
    """Every feature network of this folder."""
    return _names(sys.modules[__name__])


def network_class(name: str) -> type[FeatureNetwork]:
    """The class in `evaluate/features/<name>.py`. Raises UserError with the known names where there is none."""
    return plugin(sys.modules[__name__], name, FeatureNetwork, "feature network")  # type: ignore[type-abstract]
