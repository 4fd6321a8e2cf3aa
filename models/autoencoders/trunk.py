"""The shape that image and video autoencoders have in common: levels of residual blocks, each at half the size of the
one before.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import nn

from clipmill.models.autoencoders.blocks import FrameAttention, Past, convolved

COLOURS = 3


class Parts(Protocol):
    """What makes an encoder and a decoder one of images or of videos. Levels count from the pixels, 0, in both."""

    def convolution(self, channels: int, out_channels: int) -> nn.Module:
        """[B, T, channels, H, W] -> [B, T, out_channels, H, W], with a parameter `weight`; a `CausalConvolution` where
        it looks at other frames and is to work chunk by chunk.
        """
        ...

    def norm(self, channels: int) -> nn.Module:
        """Keeps the shape [B, T, channels, H, W]; lets no frame change another, but in a `VolumeAutoencoder`."""
        ...

    def block(self, channels: int, out_channels: int) -> nn.Module:
        """A residual block, called as block(x, past): [B, T, channels, H, W] -> [B, T, out_channels, H, W]."""
        ...

    def shrink(self, level: int, channels: int) -> nn.Module | None:
        """From `level` to the next."""
        ...

    def grow(self, level: int, channels: int) -> nn.Module | None:
        """From the level behind `level` to it."""
        ...


class Level(nn.Module):
    """Blocks at one size, then the way to the next."""

    def __init__(self, blocks: Sequence[nn.Module], resize: nn.Module | None) -> None:
        super().__init__()
        self.blocks, self.resize = nn.ModuleList(blocks), resize

    def forward(self, x: torch.Tensor, past: Past | None) -> torch.Tensor:
        """x: float [B, T, C, H, W] -> the last block's [B, T, D, H, W], resized where there is a `resize`. past: see
        `blocks.Past`.
        """
        for block in self.blocks:
            x = block(x, past)
        return x if self.resize is None else self.resize(x, past)


class Output(nn.Module):
    """Norm, SiLU and the last convolution."""

    def __init__(self, parts: Parts, channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm, self.convolution = parts.norm(channels), parts.convolution(channels, out_channels)

    def forward(self, x: torch.Tensor, past: Past | None) -> torch.Tensor:
        """x: float [B, T, channels, H, W] -> [B, T, out_channels, H, W]. past: see `blocks.Past`."""
        return convolved(self.convolution, F.silu(self.norm(x)), past)


class Encoder(nn.Module):
    """float [B, T, 3, H, W] -> [B, t, out_channels, h, w]. widths: channels of each level; depth: blocks of each.

    attention: within each frame, between the two blocks at the smallest size.
    """

    def __init__(self, parts: Parts, widths: Sequence[int], depth: int, out_channels: int, attention: bool) -> None:
        super().__init__()
        self.input = parts.convolution(COLOURS, widths[0])
        self.levels = nn.ModuleList()
        for level, width in enumerate(widths):
            before = widths[max(level - 1, 0)]
            resize = parts.shrink(level, width) if level < len(widths) - 1 else None
            self.levels.append(Level([parts.block(before if i == 0 else width, width) for i in range(depth)], resize))
        self.middle = _middle(parts, widths[-1], attention)
        self.output = Output(parts, widths[-1], out_channels)

    def forward(self, video: torch.Tensor, past: Past | None = None) -> torch.Tensor:
        x = convolved(self.input, video, past)
        for level in self.levels:
            x = level(x, past)
        return self.output(self.middle(x, past), past)


class Decoder(nn.Module):
    """float [B, t, latent_channels, h, w] -> [B, T, 3, H, W], with one block more per level than the encoder."""

    def __init__(self, parts: Parts, widths: Sequence[int], depth: int, latent_channels: int, attention: bool) -> None:
        super().__init__()
        self.input = parts.convolution(latent_channels, widths[-1])
        self.middle = _middle(parts, widths[-1], attention)
        self.levels = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            before = widths[min(level + 1, len(widths) - 1)]
            resize = parts.grow(level - 1, width) if level else None
            self.levels.append(
                Level([parts.block(before if i == 0 else width, width) for i in range(depth + 1)], resize)
            )
        self.output = Output(parts, widths[0], COLOURS)

    def forward(self, latents: torch.Tensor, past: Past | None = None) -> torch.Tensor:
        x = self.middle(convolved(self.input, latents, past), past)
        for level in self.levels:
            x = level(x, past)
        return self.output(x, past)

    def last_layer(self) -> nn.Parameter:
        """Weight of the last convolution."""
        return self.output.convolution.get_parameter("weight")


def _middle(parts: Parts, width: int, attention: bool) -> Level:
    between = [FrameAttention(width, parts.norm)] if attention else []
    return Level([parts.block(width, width), *between, parts.block(width, width)], None)
