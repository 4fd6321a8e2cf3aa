"""Convolutions over float [B, T, C, H, W]: in space only, in time only, pseudo-3D, factorised, and causal in time.

Memory is [B, T, H, W, C] where the input's is: then 2-D kernels serve every case, and attention needs no copy to see
positions.
"""

import torch
import torch.nn.functional as F
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.layers.plan import Grid


class SpaceConvolution(nn.Conv2d):
    """A 2-D convolution of each frame by itself: [B, T, C, H, W] -> [B, T, D, ⌈H / stride⌉, ⌈W / stride⌉]. Odd
    kernel.
    """

    def __init__(self, channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(channels, out_channels, odd(kernel), stride, kernel // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def flops(self, grid: Grid) -> int:
        """Floating point operations over one video, by the grid of the output."""
        return 2 * grid[0] * grid[1] * grid[2] * self.weight.numel()


class TimeConvolution(nn.Conv2d):
    """A 1-D convolution along time at each pixel: [B, T, C, H, W] -> [B, T, D, H, W], zeros beyond the ends. Odd
    kernel.
    """

    bias: nn.Parameter

    def __init__(self, channels: int, out_channels: int, kernel: int = 3) -> None:
        super().__init__(channels, out_channels, (odd(kernel), 1), padding=(kernel // 2, 0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Time as rows and all pixels as columns of one picture.
        rows = x.transpose(1, 2).flatten(3, 4)
        return super().forward(rows).unflatten(3, x.shape[3:]).transpose(1, 2)

    def start_as_identity(self) -> "TimeConvolution":
        """Dirac kernel and zero bias: the output is the input, bit by bit in full precision."""
        nn.init.dirac_(self.weight)
        nn.init.zeros_(self.bias)
        return self

    def start_at_zero(self) -> "TimeConvolution":
        """Zero kernel and zero bias: the output is zero."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)
        return self

    def flops(self, grid: Grid) -> int:
        """Floating point operations over one video of `grid`, a multiply-add being two; zeros beyond the ends count
        too.
        """
        return 2 * grid[0] * grid[1] * grid[2] * self.weight.numel()


class PseudoConvolution(nn.Module):
    """Space, then time, without anything in between; time starts as the identity (Make-A-Video, 2209.14792, section
    3.2.1).

    [B, T, C, H, W] -> [B, T, D, H, W]. independent: bool [B, T], frames that the convolution along time neither changes
    nor sees.
    """

    def __init__(self, channels: int, out_channels: int, kernel: int = 3, time_kernel: int = 3) -> None:
        super().__init__()
        self.space = SpaceConvolution(channels, out_channels, kernel)
        self.time = TimeConvolution(out_channels, out_channels, time_kernel).start_as_identity()

    def forward(self, x: torch.Tensor, independent: torch.Tensor | None = None) -> torch.Tensor:
        x = self.space(x)
        if independent is None:
            return self.time(x)
        alone = over_channels(independent)
        return torch.where(alone, x, self.time(x.masked_fill(alone, 0)))

    def flops(self, grid: Grid) -> int:
        """Floating point operations of both convolutions over one video of `grid`, a multiply-add being two."""
        return self.space.flops(grid) + self.time.flops(grid)


class FactorisedConvolution(nn.Module):
    """Space, SiLU, time: [B, T, C, H, W] -> [B, T, D, H, W] (R(2+1)D, 1711.11248, section 3.5)."""

    def __init__(self, channels: int, out_channels: int, kernel: int = 3, time_kernel: int = 3) -> None:
        super().__init__()
        self.space = SpaceConvolution(channels, out_channels, kernel)
        self.time = TimeConvolution(out_channels, out_channels, time_kernel)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.time(F.silu(self.space(x)))

    def flops(self, grid: Grid) -> int:
        """Floating point operations of both convolutions over one video of `grid`, a multiply-add being two."""
        return self.space.flops(grid) + self.time.flops(grid)


class CausalConvolution(nn.Conv3d):
    """A 3-D convolution that sees no later frame: [B, T, C, H, W] -> [B, ⌈T / time_stride⌉, D, ⌈H / stride⌉, ⌈W /
    stride⌉].

    Before the first frame stand copies of it, so that an image is a video of one frame. Odd kernel in space, any in
    time.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel: int = 3,
        time_kernel: int = 3,
        stride: int = 1,
        time_stride: int = 1,
    ) -> None:
        side = odd(kernel)
        super().__init__(
            channels, out_channels, (time_kernel, side, side), (time_stride, stride, stride), (0, side // 2, side // 2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.chunk(x, None)[0]

    def chunk(self, x: torch.Tensor, past: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """(output, past for the next chunk) of one chunk after another; joined they are the output for the whole video.

        past: float [B, K, C, H, W] from the chunk before, None at the start. Raises UserError for a chunk too short to
        give any output.
        """
        frames = torch.cat(
            [x[:, :1].expand(-1, self.kernel_size[0] - 1, -1, -1, -1) if past is None else past, x], dim=1
        )
        count = (frames.shape[1] - self.kernel_size[0]) // self.stride[0] + 1
        if count < 1:
            raise UserError(
                f"a chunk of {x.shape[1]} frames is too short for a causal convolution of time stride {self.stride[0]}"
            )
        return super().forward(frames.transpose(1, 2)).transpose(1, 2), frames[:, count * self.stride[0] :]

    def flops(self, grid: Grid) -> int:
        """Floating point operations over one video, by the grid of the output."""
        return 2 * grid[0] * grid[1] * grid[2] * self.weight.numel()


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """float [B, T, C, H, W] with the same values and memory [B, T, H, W, C]."""
    return x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, x.shape[:2])


def over_channels(frames: torch.Tensor) -> torch.Tensor:
    """[B, T] -> [B, T, 1, 1, 1]."""
    return frames[:, :, None, None, None]


def odd(kernel: int) -> int:
    """Raises UserError for an even kernel, which has no centre."""
    if kernel % 2 == 0:
        raise UserError(f"a convolution that keeps its size needs an odd kernel, not {kernel}")
    return kernel
