"""The layers of a U-Net that treat each frame as an image: residual block and transformer."""

import torch
import torch.nn.functional as F
from torch import nn

from clipmill.models.layers.attention import Attention, CrossAttention
from clipmill.models.layers.convolution import PseudoConvolution, SpaceConvolution
from clipmill.models.layers.feed_forward import FeedForward
from clipmill.models.layers.norms import NORM_EPS, FrameGroupNorm
from clipmill.models.layers.plan import AttentionPlan, Grid
from clipmill.models.layers.temporal import LayerInputs


class ResidualBlock(nn.Module):
    """float [B, T, C, H, W] -> [B, T, D, H, W]: two 3 x 3 convolutions, the second norm scaled and shifted by the
    embedding (2105.05233, section 3). pseudo: each convolution is followed by one along time that starts as the
    identity.
    """

    def __init__(self, channels: int, out_channels: int, embedding_dim: int, groups: int, pseudo: bool) -> None:
        super().__init__()
        convolution = PseudoConvolution if pseudo else SpaceConvolution
        self.norm_in, self.norm_out = FrameGroupNorm(channels, groups), FrameGroupNorm(out_channels, groups)
        self.convolution_in = convolution(channels, out_channels)
        self.convolution_out = convolution(out_channels, out_channels)
        self.scale_shift = nn.Linear(embedding_dim, 2 * out_channels)
        self.skip = SpaceConvolution(channels, out_channels, 1) if channels != out_channels else nn.Identity()

    def forward(self, x: torch.Tensor, inputs: LayerInputs) -> torch.Tensor:
        hidden = _convolved(self.convolution_in, F.silu(self.norm_in(x)), inputs.independent)
        scale, shift = self.scale_shift(inputs.embedding)[:, None, :, None, None].chunk(2, dim=2)
        hidden = F.silu(torch.addcmul(shift, self.norm_out(hidden), 1 + scale))
        return self.skip(x) + _convolved(self.convolution_out, hidden, inputs.independent)

    def flops(self, grid: Grid) -> int:
        """Floating point operations of a forward pass over one video."""
        total = self.convolution_in.flops(grid) + self.convolution_out.flops(grid) + 2 * self.scale_shift.weight.numel()
        return total + (self.skip.flops(grid) if isinstance(self.skip, SpaceConvolution) else 0)


class SpaceTransformer(nn.Module):
    """Attention under a plan that mixes pixels, to tokens where there are any, and an MLP: float [B, T, C, H, W] -> the
    same shape.

    feed_forward: whether there is an MLP (VDM has none).
    """

    def __init__(
        self, channels: int, head_dim: int, plan: AttentionPlan, token_dim: int, feed_forward: bool, qk_norm: bool
    ) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(channels, NORM_EPS) for _ in range(1 + bool(token_dim) + feed_forward))
        self.attention = Attention(channels, head_dim, plan, qk_norm)
        self.cross = CrossAttention(channels, head_dim, token_dim, qk_norm) if token_dim else None
        self.feed_forward = FeedForward(channels, activation="geglu") if feed_forward else None

    def forward(self, x: torch.Tensor, inputs: LayerInputs) -> torch.Tensor:
        positions = x.permute(0, 1, 3, 4, 2)
        positions = positions + self.attention(self.norms[0](positions), None, inputs.independent)
        if self.cross is not None and inputs.tokens is not None:
            positions = positions + self.cross(self.norms[1](positions), inputs.tokens, inputs.token_mask)
        if self.feed_forward is not None:
            positions = positions + self.feed_forward(self.norms[-1](positions))
        return positions.permute(0, 1, 4, 2, 3)

    def flops(self, grid: Grid, tokens: int) -> int:
        """Floating point operations of a forward pass over one video with `tokens` tokens."""
        total = self.attention.flops(grid)
        total += self.cross.flops(grid, tokens) if self.cross is not None and tokens else 0
        return total + (self.feed_forward.flops(grid) if self.feed_forward is not None else 0)


def _convolved(
    layer: SpaceConvolution | PseudoConvolution, x: torch.Tensor, independent: torch.Tensor | None
) -> torch.Tensor:
    return layer(x, independent) if isinstance(layer, PseudoConvolution) else layer(x)
