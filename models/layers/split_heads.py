"""Attention whose heads are shared out between two plans."""

import torch
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.layers.attention import Attention, head_count
from clipmill.models.layers.linear import xavier_linear
from clipmill.models.layers.packing import Packing
from clipmill.models.layers.plan import TEMPORAL, AttentionPlan, Grid


class SomeHeads(Attention):
    """As `Attention`, from and to a layer's whole width, by `heads` of its heads."""

    def __init__(self, dim: int, head_dim: int, plan: AttentionPlan, heads: int, qk_norm: bool = False) -> None:
        nn.Module.__init__(self)  # the projections of all heads are not wanted
        self.heads, self.head_dim, self.plan = heads, head_dim, plan
        self.query_key_value = xavier_linear(dim, 3 * heads * head_dim)
        self.query_norm, self.key_norm = (nn.RMSNorm(head_dim) if qk_norm else nn.Identity() for _ in range(2))
        self.output = xavier_linear(heads * head_dim, dim)


class SplitHeads(nn.Module):
    """Half of the heads attend under `plan`, the others along time, and what they say is added (Latte, 2401.03048,
    variant 4). A sum of two projections is the projection of what all heads say side by side. Raises UserError for a
    number of heads that has no half.
    """

    def __init__(self, dim: int, head_dim: int, plan: AttentionPlan, qk_norm: bool = False) -> None:
        super().__init__()
        heads = head_count(dim, head_dim)
        if heads % 2:
            raise UserError(f"{heads} heads cannot be split between space and time: set a head_dim for an even number")
        self.space, self.time = (SomeHeads(dim, head_dim, own, heads // 2, qk_norm) for own in (plan, TEMPORAL))

    def forward(
        self,
        x: torch.Tensor,
        rotations: tuple[torch.Tensor | None, torch.Tensor | None] = (None, None),
        independent: torch.Tensor | None = None,
        packing: Packing | None = None,
    ) -> torch.Tensor:
        """x: float [B, T, H, W, dim] -> the same shape. rotations: of the plan and along time; the rest as of
        `Attention.forward`.
        """
        found = self.space(x, rotations[0], independent, None, packing)
        return found + self.time(x, rotations[1], independent, None, packing)

    def flops(self, grid: Grid) -> int:
        """Floating point operations of a forward pass over one video."""
        return self.space.flops(grid) + self.time.flops(grid)
