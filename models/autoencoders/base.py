"""What all autoencoders share: their factors, the statistics of their latents, and which sizes they take."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.contract import Posterior
from clipmill.models.layers.plan import Grid

# Of an option that is younger than the files that lack it: it is written only where it is not at its default, so that
# the names and hashes of before hold.
LATER = {"later": True}
LOG_VARIANCE_RANGE = (-30.0, 20.0)
# Standard deviation 0.05, where means start at order one: from 1 the first hundred steps would go into outgrowing the
# noise.
_LOG_VARIANCE_START = -6.0


class VideoAutoencoder(nn.Module):
    """An `Autoencoder` (see the contract) as a module. config: the dataclass it was made from; kind: its name in
    presets and files.

    time_factor f: 1 + k f frames have 1 + k latents, the first frame its own (see `first_frame_alone`). space_factor:
    px per latent, in height and width alike. scale: exponent p of the standard deviations by which channels are divided
    for the diffusion model, 1 for the same variance in all (see `fill_latent_statistics`).
    """

    kind: ClassVar[str]
    # Whether latents become videos again.
    decodes: ClassVar[bool] = True
    scale = 1.0
    latent_mean: torch.Tensor
    latent_std: torch.Tensor

    def __init__(self, config: Any, latent_channels: int, space_factor: int, time_factor: int = 1) -> None:
        super().__init__()
        self.config, self.latent_channels, self.space_factor, self.time_factor = (
            config,
            latent_channels,
            space_factor,
            time_factor,
        )
        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_std", torch.ones(latent_channels))

    @abstractmethod
    def encode(self, video: torch.Tensor) -> Posterior:
        """See `Autoencoder.encode`."""

    @abstractmethod
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """See `Autoencoder.decode`."""

    @abstractmethod
    def last_layer(self) -> nn.Parameter:
        """Weight of the decoder's last layer, where gradients of two losses are compared. Raises UserError where
        nothing is learned.
        """

    @property
    def first_frame_alone(self) -> bool:
        """Whether the first latent is of the first frame alone, as an image's is."""
        return True

    @property
    def given_as_latents(self) -> bool:
        """See `Autoencoder.given_as_latents`."""
        return False

    @property
    def decodes_in_chunks(self) -> bool:
        """See `Autoencoder.decodes_in_chunks`."""
        return True

    def frames_in_chunks(self, video: torch.Tensor, latents: int) -> Sequence[torch.Tensor]:
        """See `Autoencoder.frames_in_chunks`."""
        first = int(self.first_frame_alone)
        ends = range(first + (latents - first) * self.time_factor, video.shape[1], latents * self.time_factor)
        return video.tensor_split(list(ends), dim=1)

    def encode_chunks(self, chunks: Iterable[torch.Tensor]) -> Iterator[Posterior]:
        """See `Autoencoder.encode_chunks`: here no latent knows of another."""
        return map(self.encode, chunks)

    def decode_chunks(self, chunks: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """See `Autoencoder.decode_chunks`, likewise."""
        return map(self.decode, chunks)

    def measure(self, videos: Iterable[torch.Tensor]) -> None:
        """Takes from training videos, float [B, T, 3, H, W] in [-1, 1] each, what it needs of them in place of being
        trained; most need nothing.
        """

    def windows_to_measure(self, grid: Grid) -> int:
        """How many training windows of (frames, height px, width px) `measure` needs at least."""
        return 1

    def latent_grid(self, grid: Grid) -> Grid:
        """(frames, height px, width px) -> of the latents. Raises UserError for sizes that it cannot take, naming the
        next that it can.
        """
        frames, height, width = grid
        time, space = self.time_factor, self.space_factor
        if height % space or width % space or min(height, width) < 1:
            fitting = f"{max(1, -(-height // space)) * space}x{max(1, -(-width // space)) * space}"
            raise UserError(
                f"this autoencoder takes heights and widths in multiples of {space} px, not {height}x{width}: the next"
                f" is {fitting}"
            )
        if frames < 1 or (frames - 1) % time:
            fitting = str(1 + max(0, -(-(frames - 1) // time)) * time)
            raise UserError(
                f"this autoencoder takes 1 frame and {time} more per latent, not {frames} frames: the next is {fitting}"
            )
        return 1 + (frames - 1) // time, height // space, width // space

    def checked(self, video: torch.Tensor) -> torch.Tensor:
        """The video, if it is one that can be encoded. Raises UserError likewise."""
        if video.ndim != 5 or video.shape[2] != 3 or not video.is_floating_point():
            raise UserError(
                f"an autoencoder takes float videos [B, T, 3, H, W] in [-1, 1], not {video.dtype} {list(video.shape)}"
            )
        self.latent_grid((video.shape[1], video.shape[3], video.shape[4]))
        return video

    def checked_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """The latents, if they can be decoded. Raises UserError likewise."""
        if latents.ndim != 5 or latents.shape[2] != self.latent_channels or min(latents.shape[1:]) < 1:
            raise UserError(
                f"this autoencoder takes latents [B, T, {self.latent_channels}, H, W], not {list(latents.shape)}"
            )
        return latents


def certain(mean: torch.Tensor) -> Posterior:
    """float [B, t, C, h, w] without any doubt."""
    return Posterior(mean, torch.zeros_like(mean))


def posterior_of(moments: torch.Tensor, deterministic: bool) -> Posterior:
    """What an encoder gives, float [B, t, C, h, w] of means, followed by C logarithms of variances unless
    deterministic, in float32.

    The logarithm is clamped to -30 ... 20, outside of which its exponential is of no use (Rombach et al. 2022,
    2112.10752, released code).
    """
    if deterministic:
        return certain(moments.float())
    mean, log_variance = moments.float().chunk(2, dim=2)
    return Posterior(mean, (log_variance.clamp(*LOG_VARIANCE_RANGE) / 2).exp())


def start_nearly_certain(layer: nn.Module, latent_channels: int) -> None:
    """Lets the layer that gives means and logarithms of variances start with the same small variance everywhere."""
    with torch.no_grad():
        layer.get_parameter("weight")[latent_channels:] = 0
        layer.get_parameter("bias")[latent_channels:] = _LOG_VARIANCE_START
