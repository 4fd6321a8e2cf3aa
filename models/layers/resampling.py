"""Changing the size of float [B, T, C, H, W] in space or in time, for any size, divisible or not."""

import torch
import torch.nn.functional as F
from torch import nn

from clipmill.models.layers.convolution import SpaceConvolution, TimeConvolution
from clipmill.models.layers.plan import Grid


class SpaceDownsample(SpaceConvolution):
    """[B, T, C, H, W] -> [B, T, C, ⌈H / 2⌉, ⌈W / 2⌉]: a 3 x 3 convolution of stride two."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2)


class SpaceUpsample(nn.Module):
    """[B, T, C, H, W] -> [B, T, C, height, width]: nearest neighbour to the size asked for, then a 3 x 3
    convolution.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = SpaceConvolution(channels, channels, 3)

    def forward(self, x: torch.Tensor, height: int, width: int) -> torch.Tensor:
        larger = F.interpolate(x.flatten(0, 1), size=(height, width), mode="nearest")
        return self.convolution(larger.unflatten(0, x.shape[:2]))

    def flops(self, grid: Grid) -> int:
        """Floating point operations over one video, by the grid of the output."""
        return self.convolution.flops(grid)


class TimeDownsample(nn.Module):
    """[B, T, C, H, W] -> [B, ⌈T / 2⌉, C, H, W]: every second frame, after a convolution along time that starts as the
    identity, so that at first the nearest frames are kept (Lumiere, 2401.12945, section 3.1).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = TimeConvolution(channels, channels).start_as_identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolution(x)[:, ::2]


class TimeUpsample(nn.Module):
    """[B, T, C, H, W] -> [B, frames, C, H, W] with frames 2 T or 2 T - 1: frames repeated, then a convolution along
    time that starts as the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolution = TimeConvolution(channels, channels).start_as_identity()

    def forward(self, x: torch.Tensor, frames: int) -> torch.Tensor:
        return self.convolution(x.repeat_interleave(2, dim=1)[:, :frames])
