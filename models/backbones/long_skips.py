"""Long skips of a transformer: what its first blocks made goes into its last ones (U-ViT, 2209.12152, section 3.1)."""

import torch
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.layers.linear import xavier_linear


class LongSkips(nn.Module):
    """Of `depth` blocks the first half is kept, the one in the middle not, and each of the second half reads
    Linear([x, kept]), the last kept first. Raises UserError for an even depth, which has no middle.
    """

    def __init__(self, depth: int, width: int) -> None:
        super().__init__()
        if depth % 2 == 0:
            raise UserError(f"long skips need an odd number of blocks, a middle one between halves, not depth={depth}")
        self.count = depth // 2
        self.joins = nn.ModuleList(xavier_linear(2 * width, width) for _ in range(self.count))

    def before(self, index: int, x: torch.Tensor, kept: list[torch.Tensor]) -> torch.Tensor:
        """What block `index` reads: float [..., width] -> the same shape. kept: is emptied from its end."""
        return self.joins[index - self.count - 1](torch.cat([x, kept.pop()], dim=-1)) if index > self.count else x

    def after(self, index: int, x: torch.Tensor, kept: list[torch.Tensor]) -> None:
        """Keeps what block `index` made, where a later one reads it."""
        if index < self.count:
            kept.append(x)

    def flops(self, positions: int) -> int:
        """Floating point operations for so many positions, a multiply-add being two."""
        return 2 * positions * sum(weights.numel() for name, weights in self.named_parameters() if "weight" in name)
