"""Halving and doubling the frames and pixels of float [B, T, C, H, W] without looking ahead, for videos in one piece or
in chunks.
"""

import torch
from torch import nn

from clipmill.models.autoencoders.blocks import Past, convolved
from clipmill.models.layers.convolution import CausalConvolution


class CausalShrink(nn.Module):
    """[B, 1 + k f, C, H, W] -> [B, 1 + k, C, H / s, W / s] for f = time_stride and s = stride, each 1 or 2: a strided
    convolution.
    """

    def __init__(self, channels: int, stride: int, time_stride: int) -> None:
        super().__init__()
        self.convolution = CausalConvolution(channels, channels, 3, 3 if time_stride > 1 else 1, stride, time_stride)

    def forward(self, x: torch.Tensor, past: Past | None = None) -> torch.Tensor:
        return convolved(self.convolution, x, past)


class CausalGrow(nn.Module):
    """[B, 1 + k, C, H, W] -> [B, 1 + k f, C, s H, s W]: a convolution to f s s times the channels, which then become
    frames and pixels (MAGVIT-v2, 2310.05737, section 3.2).

    The first frame becomes one frame, not f. Starts with the same weights for all frames and pixels that come from one,
    which is nearest neighbour, without a pattern (1707.02937).
    """

    def __init__(self, channels: int, stride: int, time_stride: int) -> None:
        super().__init__()
        self.stride, self.time_stride = stride, time_stride
        copies = time_stride * stride * stride
        self.convolution = CausalConvolution(channels, copies * channels, 3, 3 if time_stride > 1 else 1)
        with torch.no_grad():
            for parameter in self.convolution.parameters():
                parameter.copy_(parameter[:channels].repeat(copies, *(1,) * (parameter.ndim - 1)))

    def forward(self, x: torch.Tensor, past: Past | None = None) -> torch.Tensor:
        at_start = past is None or self.convolution not in past
        side, times = self.stride, self.time_stride
        parts = convolved(self.convolution, x, past).unflatten(2, (times, side, side, -1))
        # [B, T, f, s, s, C, H, W] -> [B, T, f, C, H, s, W, s]
        frames = parts.permute(0, 1, 2, 5, 6, 3, 7, 4).flatten(6, 7).flatten(4, 5).flatten(1, 2)
        return frames[:, times - 1 :] if at_start else frames
