"""Norms whose statistics stay within one frame or one position, and norms that a conditioning vector modulates."""

import torch
import torch.nn.functional as F
from torch import nn

from clipmill.models.layers.linear import xavier_linear, zero_linear

NORM_EPS = 1e-6


class FrameGroupNorm(nn.GroupNorm):
    """Group norm of each frame by itself: float [B, T, C, H, W] -> the same shape. No frame can change another one
    through it.

    groups: at most; the largest divisor of the channel count up to it is taken.
    """

    def __init__(self, channels: int, groups: int = 32, eps: float = NORM_EPS) -> None:
        super().__init__(
            next(count for count in range(min(groups, channels), 0, -1) if channels % count == 0), channels, eps
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Not F.group_norm, which refuses a single image of one pixel: a group has several channels.
        return torch.group_norm(x.flatten(0, 1), self.num_groups, self.weight, self.bias, self.eps).unflatten(
            0, x.shape[:2]
        )


class Modulation(nn.Module):
    """A conditioning vector, float [B, source_dim], as `count` vectors [B, 1, 1, 1, dim] that broadcast over frames and
    positions.

    One row per sample, whatever the number of frames. Starts at zero (adaLN-Zero, DiT, 2212.09748, section 3.2), so
    that gates are closed and norms unmodulated. The vector comes with its activation already applied: many layers share
    one. rank: where set, a low-rank map, added to what all blocks share (adaLN-LoRA, W.A.L.T., 2312.06662, section
    3.2).
    """

    def __init__(self, source_dim: int, dim: int, count: int, rank: int = 0) -> None:
        super().__init__()
        self.count = count
        self.narrow = xavier_linear(source_dim, rank, bias=False) if rank else None
        self.linear = zero_linear(rank or source_dim, count * dim)

    def forward(self, activated: torch.Tensor, shared: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """shared: float [B, count * dim]."""
        made = self.linear(activated if self.narrow is None else self.narrow(activated))
        made = made if shared is None else shared + made
        return made[:, None, None, None].chunk(self.count, dim=-1)

    def flops(self) -> int:
        """Floating point operations of a forward pass for one sample, a multiply-add being two."""
        layers = [layer for layer in (self.narrow, self.linear) if layer is not None]
        return sum(2 * layer.weight.numel() for layer in layers)


class FixedModulation(nn.Module):
    """The same for every sample: shifts and scales of norms are learned, as of a LayerNorm with weights, and gates are
    open. For blocks that are told of the sample by tokens (U-ViT, 2209.12152).

    count: 2 for a shift and a scale, 6 for two norms with a gate each, in the order of `Modulation`.
    """

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.shift_scale = nn.Parameter(torch.zeros((4 if count == 6 else 2) * dim))
        self.dim = dim

    def forward(self, embedding: torch.Tensor, shared: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
        """embedding: float [B, ...], unread but for its size -> `count` vectors [B, 1, 1, 1, dim]."""
        vectors = self.shift_scale.expand(len(embedding), 1, 1, 1, -1).split(self.dim, dim=-1)
        opened = torch.ones_like(vectors[0])
        return vectors if self.count == 2 else (*vectors[:2], opened, *vectors[2:], opened)

    def flops(self) -> int:
        """None."""
        return 0


def modulated_layer_norm(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """LayerNorm(x) (1 + scale) + shift over the last axis: float [B, T, H, W, dim], shift and scale [B, 1, 1, 1,
    dim].
    """
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=NORM_EPS), 1 + scale)
