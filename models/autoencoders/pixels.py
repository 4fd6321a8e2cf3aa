"""Latents without any network: blocks of pixels, of one frame or several, as channels, with or without a fixed change
of basis.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.base import LATER, VideoAutoencoder, certain
from clipmill.models.autoencoders.contract import Posterior
from clipmill.models.autoencoders.moments import leading_components
from clipmill.models.autoencoders.trunk import COLOURS
from clipmill.models.layers.plan import Grid


@dataclass(frozen=True)
class PixelsConfig:
    """space_factor f, time_factor t: a block of t frames of f x f pixels becomes the 3 t f² channels of a latent; a
    whole window may be one block. components: keep so many principal components of the blocks of training videos
    (`Pixels.fit`), the first ones; none: the pixels themselves. scale: a channel of standard deviation s is divided by
    s^scale, and all of them by one number; 1 gives every channel the same variance, 0 keeps their proportions.
    """

    space_factor: int = 4
    components: int | None = None
    time_factor: int = field(default=1, metadata=LATER)
    scale: float = field(default=1.0, metadata=LATER)

    def __post_init__(self) -> None:
        """Raises ValueError, one line, for a value that cannot work."""
        if min(self.space_factor, self.time_factor) < 1:
            raise ValueError("space_factor and time_factor are at least 1")
        if not 0 <= self.scale <= 1:
            raise ValueError("scale is 0 to 1")
        if self.components is not None and not 1 <= self.components <= self.values:
            side, frames = f"{self.space_factor}x{self.space_factor} px", self.time_factor
            blocks = side if frames == 1 else f"{frames} frames of {side}"
            raise ValueError(f"blocks of {blocks} have 1 to {self.values} components")

    @property
    def values(self) -> int:
        """Numbers in a block."""
        return COLOURS * self.time_factor * self.space_factor**2


class Pixels(VideoAutoencoder):
    """Nothing is learned by gradients. Without components decoding gives back every bit; with all components it does
    but for rounding; with fewer, the error is the variance in the components that were left out, the least possible for
    so many linear ones.

    Unlike in other autoencoders the first frame has no latent of its own: k time_factor frames have k latents.
    """

    kind = "pixels"
    basis: torch.Tensor
    centre: torch.Tensor
    fitted: torch.Tensor

    def __init__(self, config: PixelsConfig) -> None:
        super().__init__(config, config.components or config.values, config.space_factor, config.time_factor)
        self.scale = config.scale
        if config.components is not None:
            self.register_buffer("basis", torch.eye(config.components, config.values))
            self.register_buffer("centre", torch.zeros(config.values))
            self.register_buffer("fitted", torch.tensor(False))

    @property
    def first_frame_alone(self) -> bool:
        return self.time_factor == 1

    def latent_grid(self, grid: Grid) -> Grid:
        frames, time = grid[0], self.time_factor
        if frames < 1 or frames % time:
            raise UserError(
                f"these pixels are blocks of {time} frames: they take a multiple of {time} frames, not {frames}; the"
                f" next is {max(1, -(-frames // time)) * time}"
            )
        _, height, width = super().latent_grid((1, *grid[1:]))
        return frames // time, height, width

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
        return F.pixel_shuffle(blocks.unflatten(2, (self.time_factor, -1)).flatten(1, 2), self.space_factor)

    def last_layer(self) -> nn.Parameter:
        raise UserError("an autoencoder of kind 'pixels' has nothing to train: choose frame or causal")

    def windows_to_measure(self, grid: Grid) -> int:
        """So many that there are four blocks for a component, where few blocks make a window."""
        if self.config.components is None or self.time_factor == 1:
            return 1
        return -(-4 * self.config.components // math.prod(self.latent_grid(grid)))

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
        mean, directions = leading_components(
            (self._blocks(self.checked(video)) for video in videos), self.config.components
        )
        # The sign of an eigenvector is arbitrary: the largest entry is positive.
        largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
        self.basis.copy_(directions * largest.sign())
        self.centre.copy_(mean)
        self.fitted.fill_(True)
        return self

    def _blocks(self, video: torch.Tensor) -> torch.Tensor:
        """float [B, T, 3, H, W] -> [B, T / t, 3 t f², H / f, W / f]: the values of the first frame come first."""
        return F.pixel_unshuffle(video, self.space_factor).unflatten(1, (-1, self.time_factor)).flatten(2, 3)

    def _check_fitted(self) -> None:
        if not bool(self.fitted):
            raise UserError(
                "the components of these pixels have not been found yet: fit them to training videos, or load a fitted"
                " file"
            )
