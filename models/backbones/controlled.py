"""A U-Net steered by a copy of its way down that sees a condition of every frame (ControlNet, Zhang et al. 2023,
2302.05543).
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from clipmill.models.backbones.contract import Conditioning, check_inputs
from clipmill.models.backbones.unet import UNet, UNetConfig
from clipmill.models.layers.convolution import SpaceConvolution
from clipmill.models.layers.plan import Grid


class WayDown(UNet):
    """Of a U-Net what is not its way up, and a convolution of 1 x 1 px for each skip and for the middle, zero at the
    start (section 3.1): float [B, T, in_channels, H, W] and the condition -> what is added to them. The condition comes
    as latents beside z, where the paper has a small network of its own for pictures.
    """

    def _add_way_up(self, config: UNetConfig, skips: list[int], channels: int) -> None:
        self.outputs = nn.ModuleList(_zero(width) for width in (*skips, channels))

    def changes(self, z: torch.Tensor, noise_level: torch.Tensor, conditioning: Conditioning) -> list[torch.Tensor]:
        """Of each skip, and of the middle."""
        x, skips, _ = self.encoded(z, noise_level, conditioning)
        return [output(read) for output, read in zip(self.outputs, (*skips, x), strict=True)]

    def flops(self, grid: Grid, tokens: int = 0) -> int:
        """See `UNet.flops`."""
        return self.encoded_flops(grid, tokens) + sum(self._output_flops(grid))

    def _output_flops(self, grid: Grid) -> Iterator[int]:
        found: Any = self.outputs
        *outputs, middle = (2 * output.weight.numel() for output in found)
        for number, each in enumerate(outputs):
            frames, height, width = self._grids(grid)[number // (self.config.depth + 1)]
            yield each * frames * height * width
        frames, height, width = self._grids(grid)[-1]
        yield middle * frames * height * width


class ControlledUNet(UNet):
    """As `UNet`, whose `frames` of the conditioning go to the copy alone: at the start it is the U-Net without them,
    bit by bit, whatever they show.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(replace(config, frame_channels=0, control=False))
        self.control = WayDown(config)

    def forward(self, z: torch.Tensor, noise_level: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """See `UNet.forward`."""
        config, self.control.recompute_every = self.control.config, self.recompute_every
        check_inputs(z, conditioning, config.in_channels, config.vector_dim, config.token_dim, config.frame_channels)
        x, skips, inputs = self.encoded(z, noise_level, replace(conditioning, frames=None))
        *changes, change = self.control.changes(z, noise_level, conditioning)
        return self.decoded(x + change, [skip + more for skip, more in zip(skips, changes, strict=True)], inputs)

    def flops(self, grid: Grid, tokens: int = 0) -> int:
        """See `UNet.flops`."""
        return super().flops(grid, tokens) + self.control.flops(grid, tokens)

    def repeated_blocks(self) -> list[nn.Module]:
        """Those of the U-Net, then those of the copy."""
        return [*super().repeated_blocks(), *self.control.repeated_blocks()]


def _zero(channels: int) -> SpaceConvolution:
    layer = SpaceConvolution(channels, channels, 1)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
