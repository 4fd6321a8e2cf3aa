"""Latents without any network: blocks of pixels as channels, with or without a fixed change of basis."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.base import VideoAutoencoder, certain
from clipmill.models.autoencoders.contract import Posterior
from clipmill.models.autoencoders.moments import RunningMoments
from clipmill.models.autoencoders.trunk import COLOURS


@dataclass(frozen=True)
class PixelsConfig:
    """space_factor f: a block of f x f pixels becomes the 3 f² channels of a latent. components: keep so many principal
    components of the blocks of training videos (`Pixels.fit`), the first ones; none: the pixels themselves.
    """

    space_factor: int = 4
    components: int | None = None

    def __post_init__(self) -> None:
        """Raises ValueError, one line, for a value that cannot work."""
        if self.space_factor < 1:
            raise ValueError("space_factor is at least 1")
        if self.components is not None and not 1 <= self.components <= COLOURS * self.space_factor**2:
            raise ValueError(
                f"blocks of {self.space_factor}x{self.space_factor} px have 1 to {COLOURS * self.space_factor**2}"
                " components"
            )


class Pixels(VideoAutoencoder):
    """Nothing is learned by gradients. Without components decoding gives back every bit; with all components it does
    but for rounding; with fewer, the error is the variance in the components that were left out, the least possible for
    so many linear ones.
    """

    kind = "pixels"
    basis: torch.Tensor
    centre: torch.Tensor
    fitted: torch.Tensor

    def __init__(self, config: PixelsConfig) -> None:
        values = COLOURS * config.space_factor**2
        super().__init__(config, config.components or values, config.space_factor)
        if config.components is not None:
            self.register_buffer("basis", torch.eye(values)[: config.components].clone())
            self.register_buffer("centre", torch.zeros(values))
            self.register_buffer("fitted", torch.tensor(False))

    def encode(self, video: torch.Tensor) -> Posterior:
        blocks = self._blocks(self.checked(video))
        if self.config.components is None:
            return certain(blocks)
        self._check_fitted()
        centred = blocks - self.centre[:, None, None]
        return certain(torch.einsum("kc,btchw->btkhw", self.basis, centred))

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        blocks = self.checked_latents(latents)
        if self.config.components is not None:
            self._check_fitted()
            blocks = torch.einsum("kc,btkhw->btchw", self.basis, blocks) + self.centre[:, None, None]
        return F.pixel_shuffle(blocks, self.space_factor)

    def last_layer(self) -> nn.Parameter:
        raise UserError("an autoencoder of kind 'pixels' has nothing to train: choose frame or causal")

    def measure(self, videos: Iterable[torch.Tensor]) -> None:
        """The components, where there are any."""
        if self.config.components is not None:
            self.fit(videos)

    @torch.no_grad()
    def fit(self, videos: Iterable[torch.Tensor]) -> "Pixels":
        """Finds the components, largest variance first, from float [B, T, 3, H, W] each. Raises UserError for no video,
        or where the config asks for none.
        """
        if self.config.components is None:
            raise UserError("there are no components to fit: set autoencoder.options.components")
        moments = RunningMoments(len(self.centre))
        for video in videos:
            moments.add(self._blocks(self.checked(video)))
        directions = torch.linalg.eigh(moments.covariance).eigenvectors.T.flip(0)[: self.config.components]
        # The sign of an eigenvector is arbitrary: the largest entry is positive.
        largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
        self.basis.copy_(directions * largest.sign())
        self.centre.copy_(moments.mean)
        self.fitted.fill_(True)
        return self

    def _blocks(self, video: torch.Tensor) -> torch.Tensor:
        return F.pixel_unshuffle(video, self.space_factor)

    def _check_fitted(self) -> None:
        if not bool(self.fitted):
            raise UserError(
                "the components of these pixels have not been found yet: fit them to training videos, or load a fitted"
                " file"
            )
