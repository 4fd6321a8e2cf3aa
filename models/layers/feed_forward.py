"""The MLP of a transformer block."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from clipmill.models.layers.linear import xavier_linear, zero_linear
from clipmill.models.layers.plan import Grid


class FeedForward(nn.Module):
    """float [..., dim] -> the same shape, through ratio * dim hidden channels.

    activation: gelu, the tanh approximation; geglu, gated by a second projection (2002.05202, equation 6). zero_output:
    the last layer starts at zero, so that a residual around this layer starts as the identity.
    """

    def __init__(
        self, dim: int, ratio: float = 4.0, activation: Literal["gelu", "geglu"] = "gelu", zero_output: bool = False
    ) -> None:
        super().__init__()
        hidden = int(dim * ratio)
        self.gated = activation == "geglu"
        self.inner = xavier_linear(dim, hidden * (2 if self.gated else 1))
        self.output = (zero_linear if zero_output else xavier_linear)(hidden, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.gated:
            return self.output(F.gelu(self.inner(x), approximate="tanh"))
        value, gate = self.inner(x).chunk(2, dim=-1)
        return self.output(value * F.gelu(gate))

    def flops(self, grid: Grid) -> int:
        """Floating point operations of a forward pass over one video."""
        weights = self.inner.weight.numel() + self.output.weight.numel()
        return 2 * grid[0] * grid[1] * grid[2] * weights
