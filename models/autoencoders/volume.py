"""A 3-D autoencoder that sees time as it sees space, forwards and backwards."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.base import LATER, VideoAutoencoder, posterior_of, start_nearly_certain
from clipmill.models.autoencoders.blocks import Past, Residual
from clipmill.models.autoencoders.causal import is_power_of_two
from clipmill.models.autoencoders.contract import Posterior
from clipmill.models.autoencoders.trunk import Decoder, Encoder
from clipmill.models.layers.norms import NORM_EPS
from clipmill.models.layers.plan import Grid


@dataclass(frozen=True)
class VolumeConfig:
    """latent_channels: C. width: channels at full size; multipliers: of it, per level. depth: residual blocks per
    level. time_factor, space_factor: powers of two, halved behind the first levels. groups: of the norms, a divisor of
    all widths. every: a model sees only every so many-th latent, the first and the last among them (key frames).
    deterministic: no variance is learned, std is zero. The defaults are LVDM's.
    """

    latent_channels: int = 4
    width: int = 32
    multipliers: tuple[int, ...] = (1, 2, 4, 8)
    depth: int = 1
    time_factor: int = 4
    space_factor: int = 8
    groups: int = 32
    deterministic: bool = False
    every: int = field(default=1, metadata=LATER)

    def __post_init__(self) -> None:
        """Raises ValueError, one line, for a value that cannot work."""
        sizes = (self.latent_channels, self.width, self.depth, self.groups, self.every, *self.multipliers)
        if not self.multipliers or min(sizes) < 1:
            raise ValueError("sizes are at least 1")
        if not (is_power_of_two(self.time_factor) and is_power_of_two(self.space_factor)):
            raise ValueError("factors are 1, 2, 4, 8 and so on")
        if max(self.time_factor, self.space_factor) != 2 ** (len(self.multipliers) - 1):
            raise ValueError(f"{len(self.multipliers)} multipliers make a factor of {2 ** (len(self.multipliers) - 1)}")
        if any(width % self.groups for width in self.widths):
            raise ValueError(f"widths are multiples of groups={self.groups}")

    @property
    def widths(self) -> list[int]:
        """Channels of each level, the one at full size first."""
        return [self.width * multiplier for multiplier in self.multipliers]


class VolumeAutoencoder(VideoAutoencoder):
    """k f frames have k latents, f = time_factor, and every latent knows frames before and behind its own (LVDM,
    2211.13221, section 3.1): 3-D convolutions over a video that is continued by its first and last frame ("repeat
    padding") and by its border pixels, and norms over all frames. The levels are those of our other autoencoders.
    """

    kind = "volume"

    def __init__(self, config: VolumeConfig) -> None:
        super().__init__(config, config.latent_channels, config.space_factor, config.time_factor)
        parts, moments = _VolumeParts(config), config.latent_channels * (1 if config.deterministic else 2)
        self.encoder = Encoder(parts, config.widths, config.depth, moments, attention=False)
        start_nearly_certain(self.encoder.output.convolution, config.latent_channels)
        self.decoder = Decoder(parts, config.widths, config.depth, config.latent_channels, attention=False)

    @property
    def first_frame_alone(self) -> bool:
        return False

    @property
    def given_as_latents(self) -> bool:
        return True

    @property
    def decodes_in_chunks(self) -> bool:
        return False

    def frames_in_chunks(self, video: torch.Tensor, latents: int) -> Sequence[torch.Tensor]:
        """In one piece: norms see all of it."""
        return (video,)

    def latent_grid(self, grid: Grid) -> Grid:
        """Frames are k f, where k is one more than a multiple of `every`. Raises UserError for others."""
        frames, (time, every) = grid[0], (self.time_factor, self.config.every)
        latents = max(1, -(-frames // time))
        fitting = time * (1 + -(-(latents - 1) // every) * every)
        if frames != fitting:
            kept = f"; of these every {every}th is kept, the last one too" if every > 1 else ""
            raise UserError(
                f"this autoencoder makes a latent of {time} frames{kept}: it takes no {frames}, the next is {fitting}"
            )
        return 1 + (latents - 1) // every, *super().latent_grid((1, *grid[1:]))[1:]

    def encode(self, video: torch.Tensor) -> Posterior:
        found = posterior_of(self.encoder(self.checked(video)), self.config.deterministic)
        return Posterior(*(part[:, :: self.config.every] for part in found))

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Where latents were left out, each stands until the next."""
        every, count = self.config.every, self.checked_latents(latents).shape[1]
        return self.decoder(latents.repeat_interleave(every, dim=1)[:, : (count - 1) * every + 1])

    def last_layer(self) -> nn.Parameter:
        return self.decoder.last_layer()

    def with_every(self, every: int) -> "VolumeAutoencoder":
        """The same, of which a model sees every so many-th latent."""
        self.config = replace(self.config, every=every)
        return self


class VolumeConvolution(nn.Conv3d):
    """[B, T, C, H, W] -> [B, T / time_stride, D, H / stride, W / stride], strides of 1 or 2: kernel 3, 4 where the
    stride is 2, and copies of what is at the edge beyond it.
    """

    def __init__(self, channels: int, out_channels: int, stride: int = 1, time_stride: int = 1) -> None:
        strides = (time_stride, stride, stride)
        super().__init__(channels, out_channels, _kernels(strides), strides, padding=1, padding_mode="replicate")

    def forward(self, x: torch.Tensor, past: Past | None = None) -> torch.Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class VolumeGrow(nn.ConvTranspose3d):
    """[B, T, C, H, W] -> [B, time_stride T, C, stride H, stride W], strides likewise: a transposed convolution over
    what is continued by copies of its edge.
    """

    def __init__(self, channels: int, stride: int, time_stride: int) -> None:
        strides = (time_stride, stride, stride)
        super().__init__(
            channels, channels, _kernels(strides), strides, padding=(time_stride + 1, stride + 1, stride + 1)
        )

    def forward(self, x: torch.Tensor, past: Past | None = None) -> torch.Tensor:  # type: ignore[override]
        return super().forward(F.pad(x.transpose(1, 2), (1,) * 6, mode="replicate")).transpose(1, 2)


class VolumeNorm(nn.GroupNorm):
    """Group norm over all frames and pixels of a video: float [B, T, C, H, W] -> the same shape."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class _VolumeParts:
    def __init__(self, config: VolumeConfig) -> None:
        self._groups = config.groups
        self._halvings = config.space_factor.bit_length() - 1, config.time_factor.bit_length() - 1

    def convolution(self, channels: int, out_channels: int) -> nn.Module:
        return VolumeConvolution(channels, out_channels)

    def norm(self, channels: int) -> nn.Module:
        return VolumeNorm(self._groups, channels, NORM_EPS)

    def block(self, channels: int, out_channels: int) -> nn.Module:
        return Residual(channels, out_channels, VolumeConvolution, self.norm)

    def shrink(self, level: int, channels: int) -> nn.Module | None:
        return VolumeConvolution(channels, channels, *self._strides(level))

    def grow(self, level: int, channels: int) -> nn.Module | None:
        return VolumeGrow(channels, *self._strides(level))

    def _strides(self, level: int) -> tuple[int, int]:
        """Of space and of time between `level` and the next."""
        space, time = (1 + (level < halvings) for halvings in self._halvings)
        return space, time


def _kernels(strides: tuple[int, int, int]) -> tuple[int, int, int]:
    """4 where a side is halved or doubled, so that every pixel counts as often, else 3."""
    time, height, width = strides
    return time + 2, height + 2, width + 2
