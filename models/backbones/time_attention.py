"""Attention along time inside a block of a DiT, behind that to pixels and to text."""

import torch
from torch import nn

from clipmill.models.backbones.sequence import BlockInputs
from clipmill.models.layers.attention import Attention
from clipmill.models.layers.norms import NORM_EPS, Modulation, modulated_layer_norm
from clipmill.models.layers.plan import TEMPORAL, Grid


class TimeAttention(nn.Module):
    """A residual that starts as the identity. modulated: norm and gate by the sample's embedding (Latte, 2401.03048,
    variant 3); else a norm of its own weights, and an output that starts at zero (GenTron, 2312.04557, section 3.3).
    """

    def __init__(self, width: int, head_dim: int, qk_norm: bool, modulated: bool) -> None:
        super().__init__()
        self.modulation = Modulation(width, width, 3) if modulated else None
        self.norm = None if modulated else nn.LayerNorm(width, NORM_EPS)
        self.attention = Attention(width, head_dim, TEMPORAL, qk_norm, zero_output=not modulated)

    def forward(self, x: torch.Tensor, inputs: BlockInputs) -> torch.Tensor:
        """x: float [B, t, h, w, width], or a row where the inputs have a packing -> the same shape."""
        read = x if inputs.time is None else x + inputs.time
        others = (inputs.time_rotation, inputs.independent, None, inputs.packing)
        if self.norm is not None:
            return x + self.attention(self.norm(read), *others)
        assert self.modulation is not None
        shift, scale, gate = inputs.spread(self.modulation(inputs.embedding))
        return torch.addcmul(x, gate, self.attention(modulated_layer_norm(read, shift, scale), *others))

    def flops(self, grid: Grid) -> int:
        """Floating point operations of a forward pass over one video."""
        return self.attention.flops(grid) + (0 if self.modulation is None else self.modulation.flops())
