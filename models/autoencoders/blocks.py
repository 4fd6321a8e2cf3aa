"""Layers of encoders and decoders over float [B, T, C, H, W]. All take `past`, so that causal ones can work chunk by
chunk.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from clipmill.models.layers.attention import Attention
from clipmill.models.layers.convolution import CausalConvolution, SpaceConvolution
from clipmill.models.layers.norms import NORM_EPS, FrameGroupNorm
from clipmill.models.layers.plan import SPATIAL

# What each causal convolution has to remember of the chunks so far; empty before the first one. None: the video comes
# in one piece.
Past = dict[nn.Module, torch.Tensor]
MakeConvolution = Callable[[int, int], nn.Module]
MakeNorm = Callable[[int], nn.Module]


def convolved(layer: nn.Module, x: torch.Tensor, past: Past | None) -> torch.Tensor:
    """The layer's output for a whole video, or for the next chunk; only causal convolutions remember."""
    if past is None or not isinstance(layer, CausalConvolution):
        return layer(x)
    out, rest = layer.chunk(x, past.get(layer))
    # A view would keep the whole chunk in memory.
    past[layer] = rest.clone()
    return out


class Residual(nn.Module):
    """[B, T, C, H, W] -> [B, T, D, H, W]: twice norm, SiLU and convolution, around a skip."""

    def __init__(self, channels: int, out_channels: int, convolution: MakeConvolution, norm: MakeNorm) -> None:
        super().__init__()
        self.norm_in, self.norm_out = norm(channels), norm(out_channels)
        self.convolution_in = convolution(channels, out_channels)
        self.convolution_out = convolution(out_channels, out_channels)
        self.skip = SpaceConvolution(channels, out_channels, 1) if channels != out_channels else nn.Identity()

    def forward(self, x: torch.Tensor, past: Past | None = None) -> torch.Tensor:
        return self.skip(x) + self.change(x, past)

    def change(self, x: torch.Tensor, past: Past | None = None) -> torch.Tensor:
        """What is added to the skip."""
        hidden = convolved(self.convolution_in, F.silu(self.norm_in(x)), past)
        return convolved(self.convolution_out, F.silu(self.norm_out(hidden)), past)


class FrameAttention(nn.Module):
    """[B, T, C, H, W] -> the same shape: every pixel attends to all of its frame, with one head, around a skip."""

    def __init__(self, channels: int, norm: MakeNorm) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.attention = Attention(channels, channels, SPATIAL)

    def forward(self, x: torch.Tensor, past: Past | None = None) -> torch.Tensor:
        return x + self.attention(self.norm(x).permute(0, 1, 3, 4, 2)).permute(0, 1, 4, 2, 3)


class VoxelNorm(nn.Module):
    """RMS norm over the channels of every position: float [B, T, C, H, W] -> the same shape (1910.07467)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = torch.rsqrt(x.float().square().mean(dim=2, keepdim=True) + NORM_EPS)
        return x * scale.to(x.dtype) * self.weight[:, None, None]


def norm_named(name: str, groups: int) -> MakeNorm:
    """frame: group norm of each frame; voxel: RMS norm of each position. Neither lets one frame change another."""
    if name == "voxel":
        return VoxelNorm
    return lambda channels: FrameGroupNorm(channels, groups)
