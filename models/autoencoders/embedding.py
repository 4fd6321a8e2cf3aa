"""Pictures as one latent: an embedding, for a model that makes embeddings and no videos (the prior of Make-A-Video)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.base import VideoAutoencoder, certain
from clipmill.models.autoencoders.contract import Posterior
from clipmill.models.conditioning.config import ReferenceConfig
from clipmill.models.conditioning.reference import ReferenceEncoder, reference_encoder_of
from clipmill.models.layers.plan import Grid


@dataclass(frozen=True)
class EmbeddingConfig:
    """encoder, network: as of `ReferenceConfig`; those of the model that is to show what a picture shows."""

    encoder: Literal["clip", "thumbnail"] = "clip"
    network: str = "clip-vit-l-14"


class PictureEmbedding(VideoAutoencoder):
    """The middle frame of a window, of any size, on a grid of 1 x 1 x 1; frozen, and no way back. The network is looked
    for on this machine when it is needed.
    """

    kind = "embedding"
    decodes = False

    def __init__(self, config: EmbeddingConfig) -> None:
        """Raises UserError for a network that is not known."""
        found = reference_encoder_of(ReferenceConfig(config.encoder, config.network))
        assert found is not None
        super().__init__(config, found.dim, 1)
        # In a tuple: no module of this one.
        self._encoder: tuple[ReferenceEncoder] = (found,)

    def latent_grid(self, grid: Grid) -> Grid:
        return 1, 1, 1

    def encode(self, video: torch.Tensor) -> Posterior:
        """Raises UserError where the network is not on this machine."""
        picture = self.checked(video)[:, video.shape[1] // 2]
        made = self._encoder[0].encode(((picture + 1) * 127.5).round().clamp(0, 255).to(torch.uint8))
        return certain(made.to(video.device)[:, None, :, None, None])

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        raise UserError("an embedding is no video: give its model as sample.prior to one of conditioning.reference")

    def measure(self, videos: Iterable[torch.Tensor]) -> None:
        """Raises UserError where the network is not on this machine, before anything is encoded."""
        self._encoder[0].check()

    def last_layer(self) -> nn.Parameter:
        raise UserError("an autoencoder of kind 'embedding' has nothing to train: choose frame or causal")
