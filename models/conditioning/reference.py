"""A reference picture by its embedding: CLIP's, or what is left of it at a few pixels."""

from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F

from clipmill.curate.errors import UserError
from clipmill.curate.networks.clip import embedding_size, ready_clip
from clipmill.curate.weights import find
from clipmill.models.conditioning.config import ReferenceConfig

_SETTING = "conditioning.reference.network"
_SIDE_PX = 4


class ReferenceEncoder(Protocol):
    """Frozen. dim: numbers of an embedding."""

    dim: int

    def to(self, device: torch.device) -> None:
        """Where to compute; embeddings come back on the CPU."""
        ...

    def check(self) -> None:
        """Raises UserError where it is not to be had on this machine."""
        ...

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """uint8 [B, 3, H, W] RGB -> float32 [B, dim] on the CPU, of order one."""
        ...


class Thumbnail:
    """Means over 4 x 4 areas, in [-1, 1], all of one picture after another."""

    dim = 3 * _SIDE_PX**2

    def to(self, device: torch.device) -> None:
        """See `ReferenceEncoder`."""

    def check(self) -> None:
        """See `ReferenceEncoder`."""

    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """See `ReferenceEncoder`."""
        return F.adaptive_avg_pool2d(pictures.cpu().float() / 127.5 - 1, _SIDE_PX).flatten(1)


class ClipPicture:
    """Its weights are read at the first picture, so that a network can be built without them."""

    def __init__(self, config: ReferenceConfig) -> None:
        """Raises UserError for a network that is not known, or of another size than `config.dim`, where that is set."""
        self.network = config.network
        self.dim = config.dim or embedding_size(config.network)
        self._device = torch.device("cpu")

    def to(self, device: torch.device) -> None:
        """See `ReferenceEncoder`."""
        self._device = device

    def check(self) -> None:
        """See `ReferenceEncoder`."""
        self.located()

    def located(self) -> Path:
        """Where the weights lie. Raises UserError where they are not on this machine."""
        path = find(self.network, {})
        if path is None:
            raise UserError(
                f"the weights {self.network} are not on this machine: run `curate weights pull {self.network}`, or set"
                f" {_SETTING} to a folder with open_clip_config.json and weights"
            )
        return path

    @torch.no_grad()
    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """uint8 [B, 3, H, W] RGB -> float32 [B, dim] on the CPU, of length sqrt(dim): its numbers are of order one, as
        those of all conditions. Raises UserError where the network is not to be had, or makes others.
        """
        clip = ready_clip(self.network, self.located(), str(self._device))
        vectors = torch.from_numpy(clip.pictures(list(pictures.permute(0, 2, 3, 1).cpu().numpy())))
        if vectors.shape[1] != self.dim:
            raise UserError(
                f"{self.network} makes {vectors.shape[1]} numbers of a picture, and this model has places for"
                f" {self.dim}: set {_SETTING} to the network that it was trained with"
            )
        return vectors * self.dim**0.5


def reference_encoder_of(config: ReferenceConfig) -> ReferenceEncoder | None:
    """None for a model without a reference picture. Raises UserError for a network that is not known, and for a size
    that is not the encoder's.
    """
    if config.encoder == "thumbnail":
        if config.dim not in (0, Thumbnail.dim):
            raise UserError(f"a thumbnail has {Thumbnail.dim} numbers: set conditioning.reference.dim=0")
        return Thumbnail()
    return None if config.encoder == "none" else ClipPicture(config)
