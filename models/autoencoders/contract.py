"""What every autoencoder offers: the only thing the trainer and the samplers know about it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch

from clipmill.models.layers.plan import Grid


class Posterior(NamedTuple):
    """A diagonal Gaussian over latents, float [B, t, C, h, w] each. std is zero where encoding is certain."""

    mean: torch.Tensor
    std: torch.Tensor

    def sample(self, noise: torch.Tensor) -> torch.Tensor:
        """noise: standard normal like mean."""
        return self.mean + self.std * noise


class Autoencoder(Protocol):
    """latent_channels: C. latent_mean, latent_std: float [C], of the latents of training videos; `encode` and `decode`
    speak of latents as they come out of the network, (latent - latent_mean) / latent_std is what a diffusion model
    sees. space_factor, time_factor: px per side and frames of a latent.
    """

    latent_channels: int
    space_factor: int
    time_factor: int
    latent_mean: torch.Tensor
    latent_std: torch.Tensor

    @property
    def first_frame_alone(self) -> bool:
        """Whether the first latent is of the first frame alone, as an image's is."""
        ...

    @property
    def decodes(self) -> bool:
        """Whether latents become videos again."""
        ...

    @property
    def given_as_latents(self) -> bool:
        """Whether a model can be given latents of several frames each, wherever in a video they are."""
        ...

    @property
    def decodes_in_chunks(self) -> bool:
        """Whether `decode_chunks` gives what `decode` does."""
        ...

    def encode(self, video: torch.Tensor) -> Posterior:
        """video: float [B, T, 3, H, W] in [-1, 1], T = 1 for images. Raises UserError for sizes that it cannot take,
        naming the next that it can.
        """
        ...

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """latents: float [B, t, C, h, w] -> video float [B, T, 3, H, W], nominally in [-1, 1], not clamped."""
        ...

    def frames_in_chunks(self, video: torch.Tensor, latents: int) -> Sequence[torch.Tensor]:
        """The video [B, T, 3, H, W] cut along time, each piece the frames of so many latents or, the last, of fewer."""
        ...

    def encode_chunks(self, chunks: Iterable[torch.Tensor]) -> Iterator[Posterior]:
        """Of the pieces of a video one after another; joined along time they are that of the whole, but for
        rounding.
        """
        ...

    def decode_chunks(self, chunks: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Of the pieces of latents likewise, cut anywhere."""
        ...

    def latent_grid(self, grid: Grid) -> Grid:
        """(frames, height, width) of a video, px -> of its latents."""
        ...
