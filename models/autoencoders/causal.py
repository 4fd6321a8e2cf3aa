"""A strictly causal 3-D autoencoder: images and videos share it, and a long video passes through it in chunks."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.base import VideoAutoencoder, posterior_of, start_nearly_certain
from clipmill.models.autoencoders.blocks import Past, Residual, norm_named
from clipmill.models.autoencoders.causal_resampling import CausalGrow, CausalShrink
from clipmill.models.autoencoders.contract import Posterior
from clipmill.models.autoencoders.trunk import Decoder, Encoder
from clipmill.models.layers.convolution import CausalConvolution


@dataclass(frozen=True)
class CausalConfig:
    """latent_channels: C. width: channels at full size; multipliers: of it, per level; depth: residual blocks per
    level.

    time_factor, space_factor: powers of two; space is halved behind the first levels, time behind the last ones. norm:
    frame (groups at most `groups`) or voxel. attention: within frames, at the smallest size. deterministic: no variance
    is learned, std is zero.
    """

    latent_channels: int = 16
    width: int = 128
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    depth: int = 2
    time_factor: int = 4
    space_factor: int = 8
    norm: Literal["frame", "voxel"] = "frame"
    groups: int = 32
    attention: bool = True
    deterministic: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError, one line, for a value that cannot work."""
        halvings = len(self.multipliers) - 1
        problems = (
            (
                not self.multipliers
                or min(self.latent_channels, self.width, self.depth, self.groups, *self.multipliers) < 1,
                "sizes are at least 1",
            ),
            (
                not is_power_of_two(self.time_factor) or not is_power_of_two(self.space_factor),
                "factors are 1, 2, 4, 8 and so on",
            ),
            (
                max(self.time_factor, self.space_factor) > 2**halvings,
                f"{halvings + 1} multipliers allow for factors up to {2**halvings}",
            ),
        )
        for wrong, message in problems:
            if wrong:
                raise ValueError(message)

    @property
    def widths(self) -> list[int]:
        """Channels of each level, the one at full size first."""
        return [self.width * multiplier for multiplier in self.multipliers]


class CausalAutoencoder(VideoAutoencoder):
    """In the manner of MAGVIT-v2 (2310.05737), W.A.L.T. (2312.06662) and CogVideoX (2408.06072), but without norms over
    several frames.

    Latent i is made of frames 0 ... i f and of no later one, f = time_factor; frame t is decoded from latents 0 ... ⌈t
    / f⌉ and of no later one. The first frame is encoded and decoded on its own, exactly as if it were an image.
    """

    kind = "causal"

    def __init__(self, config: CausalConfig) -> None:
        super().__init__(config, config.latent_channels, config.space_factor, config.time_factor)
        parts, moments = _CausalParts(config), config.latent_channels * (1 if config.deterministic else 2)
        self.encoder = Encoder(parts, config.widths, config.depth, moments, config.attention)
        start_nearly_certain(self.encoder.output.convolution, config.latent_channels)
        self.decoder = Decoder(parts, config.widths, config.depth, config.latent_channels, config.attention)

    def encode(self, video: torch.Tensor) -> Posterior:
        return posterior_of(self.encoder(self.checked(video)), self.config.deterministic)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.checked_latents(latents))

    def encode_chunks(self, chunks: Iterable[torch.Tensor]) -> Iterator[Posterior]:
        """Posteriors of the pieces of a video, as `chunks_of` cuts it; joined along time they are those of the whole,
        but for rounding. Memory is that of one chunk, whatever the number. Raises UserError for a piece of another
        number of frames.
        """
        past: Past = {}
        for chunk in chunks:
            yield self.encode_chunk(chunk, past)

    def encode_chunk(self, chunk: torch.Tensor, past: Past) -> Posterior:
        """The next piece; `past` starts as {} and is updated."""
        if past and chunk.ndim == 5 and chunk.shape[1] % self.time_factor:
            raise UserError(
                f"chunks behind the first have a multiple of {self.time_factor} frames, not {chunk.shape[1]}"
            )
        self.checked(chunk[:, :1] if past else chunk)
        return posterior_of(self.encoder(chunk, past), self.config.deterministic)

    def decode_chunks(self, chunks: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Videos of the pieces of latents, cut anywhere; joined along time they are the video of the whole, but for
        rounding. Memory likewise.
        """
        past: Past = {}
        for chunk in chunks:
            yield self.decode_chunk(chunk, past)

    def decode_chunk(self, chunk: torch.Tensor, past: Past) -> torch.Tensor:
        """The next piece; `past` starts as {} and is updated."""
        return self.decoder(self.checked_latents(chunk), past)

    def last_layer(self) -> nn.Parameter:
        return self.decoder.last_layer()


def chunks_of(video: torch.Tensor, latents_per_chunk: int, time_factor: int) -> Iterator[torch.Tensor]:
    """[B, 1 + k f, ...] cut along time: 1 + m f frames, then m f each, the rest at the end, f = time_factor. m =
    latents_per_chunk.
    """
    if latents_per_chunk < 1:
        raise UserError(f"a chunk has at least one latent, not {latents_per_chunk}")
    frames = latents_per_chunk * time_factor
    yield video[:, : 1 + frames]
    for start in range(1 + frames, video.shape[1], frames):
        yield video[:, start : start + frames]


class _CausalParts:
    def __init__(self, config: CausalConfig) -> None:
        self._levels = len(config.multipliers) - 1
        self._space_halvings = config.space_factor.bit_length() - 1
        self._time_halvings = config.time_factor.bit_length() - 1
        self._norm = norm_named(config.norm, config.groups)

    def convolution(self, channels: int, out_channels: int) -> nn.Module:
        return CausalConvolution(channels, out_channels)

    def norm(self, channels: int) -> nn.Module:
        return self._norm(channels)

    def block(self, channels: int, out_channels: int) -> nn.Module:
        return Residual(channels, out_channels, self.convolution, self.norm)

    def shrink(self, level: int, channels: int) -> nn.Module | None:
        space, time = self._strides(level)
        return CausalShrink(channels, space, time) if space * time > 1 else None

    def grow(self, level: int, channels: int) -> nn.Module | None:
        space, time = self._strides(level)
        return CausalGrow(channels, space, time) if space * time > 1 else None

    def _strides(self, level: int) -> tuple[int, int]:
        """Of space and of time between `level` and the next."""
        return 1 + (level < self._space_halvings), 1 + (level >= self._levels - self._time_halvings)


def is_power_of_two(number: int) -> bool:
    """1, 2, 4, 8 and so on."""
    return number > 0 and number & (number - 1) == 0
