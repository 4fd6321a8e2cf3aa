"""A reference picture by its CLIP embedding."""

from pathlib import Path

import torch

from clipmill.curate.errors import UserError
from clipmill.curate.networks.clip import embedding_size, ready_clip
from clipmill.curate.weights import find
from clipmill.models.conditioning.config import ReferenceConfig

_SETTING = "conditioning.reference.network"


class ReferenceEncoder:
    """Frozen; its weights are read at the first picture, so that a network can be built without them. dim: numbers of
    an embedding.
    """

    def __init__(self, config: ReferenceConfig) -> None:
        """Raises UserError for a network that is not known, or of another size than `config.dim`, where that is set."""
        self.network = config.network
        self.dim = config.dim or embedding_size(config.network)
        self._device = torch.device("cpu")

    def to(self, device: torch.device) -> None:
        """Where to compute; embeddings come back on the CPU."""
        self._device = device

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
    """None for a model without a reference picture."""
    return None if config.encoder == "none" else ReferenceEncoder(config)
