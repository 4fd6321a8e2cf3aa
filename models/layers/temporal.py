"""Temporal layers put into an image model, and how their result is mixed with what the image layers made."""

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from clipmill.models.layers.attention import Attention, CrossAttention
from clipmill.models.layers.convolution import PseudoConvolution, TimeConvolution, over_channels
from clipmill.models.layers.embeddings import TimePositions, rotary_table, time_embedding
from clipmill.models.layers.feed_forward import FeedForward
from clipmill.models.layers.norms import NORM_EPS, FrameGroupNorm
from clipmill.models.layers.plan import AttentionPlan, Grid
from clipmill.models.layers.resampling import TimeDownsample, TimeUpsample

MixerKind = Literal["zero", "dirac", "alpha", "alpha_images"]


class LayerInputs(NamedTuple):
    """What layers get beside the video. embedding: float [B, E], activated; tokens: float [B, N, D]; token_mask: bool
    [B, N];
    independent: bool [B, T], True for frames that are images of their own.
    """

    embedding: torch.Tensor
    tokens: torch.Tensor | None = None
    token_mask: torch.Tensor | None = None
    independent: torch.Tensor | None = None


class Mixer(nn.Module):
    """Image features z and the change d that temporal layers make of them, float [B, T, C, H, W] each -> the mixture.

    zero: z + d. dirac: the same for attention; convolutions along time are no branch then but follow each convolution
    in space, as `PseudoConvolution`. alpha: a z + (1 - a)(z + d) with one learned a = sigmoid(m), 1/2 at the start
    (Video LDM, 2304.08818, section 3.1). alpha_images: alpha, but a = 1 for independent frames and for clips of a
    single frame (Stable Video Diffusion, 2311.15127).

    Written as z + gate d all of them return z itself, bit by bit, as long as d is zero; a z + (1 - a) z would be off by
    rounding.
    """

    def __init__(self, kind: MixerKind) -> None:
        super().__init__()
        self.images_only_in_space = kind == "alpha_images"
        self.logit = nn.Parameter(torch.zeros(())) if kind.startswith("alpha") else None

    def forward(self, image: torch.Tensor, change: torch.Tensor, independent: torch.Tensor | None) -> torch.Tensor:
        if self.images_only_in_space and image.shape[1] == 1:
            return image
        if self.images_only_in_space and independent is not None:
            change = change.masked_fill(over_channels(independent), 0)
        return (
            image + change
            if self.logit is None
            else torch.addcmul(image, change, torch.sigmoid(-self.logit).to(change.dtype))
        )


class TemporalBlock(nn.Module):
    """Temporal layers with their mixer: float [B, T, C, H, W] -> the same shape, at the start bit by bit the input.

    layers: `TemporalConvolutions` or `TemporalTransformer`, whose result is the change they make; it starts at zero.
    """

    def __init__(self, layers: "TemporalConvolutions | TemporalTransformer", mixer: MixerKind) -> None:
        super().__init__()
        self.layers, self.mixer = layers, Mixer(mixer)

    def forward(self, x: torch.Tensor, inputs: LayerInputs) -> torch.Tensor:
        return self.mixer(x, self.layers(x, inputs), inputs.independent)

    def flops(self, grid: Grid, tokens: int) -> int:
        """Floating point operations of a forward pass over one video of `grid` with `tokens` tokens, a multiply-add
        being two.
        """
        return self.layers.flops(grid, tokens)


class TemporalConvolutions(nn.Module):
    """The residual branch of a block convolving along time, conditioned like its image twin: float [B, T, C, H, W] ->
    the same shape.

    Group norms are per frame (the original's reach over time). Independent frames are zeros to the others, and
    unchanged themselves.
    """

    def __init__(self, channels: int, embedding_dim: int, groups: int = 32, kernel: int = 3) -> None:
        super().__init__()
        self.norm_in, self.norm_out = (FrameGroupNorm(channels, groups) for _ in range(2))
        self.convolution_in = TimeConvolution(channels, channels, kernel)
        self.embedding = nn.Linear(embedding_dim, channels)
        self.convolution_out = TimeConvolution(channels, channels, kernel).start_at_zero()

    def forward(self, x: torch.Tensor, inputs: LayerInputs) -> torch.Tensor:
        alone = None if inputs.independent is None else over_channels(inputs.independent)
        hidden = self.convolution_in(_without(F.silu(self.norm_in(x)), alone))
        hidden = hidden + self.embedding(inputs.embedding)[:, None, :, None, None]
        return _without(self.convolution_out(_without(F.silu(self.norm_out(hidden)), alone)), alone)

    def flops(self, grid: Grid, tokens: int) -> int:
        """Floating point operations of a forward pass over one video."""
        return self.convolution_in.flops(grid) + self.convolution_out.flops(grid) + 2 * self.embedding.weight.numel()


class TemporalTransformer(nn.Module):
    """Attention along time, to tokens where there are any, and an MLP: float [B, T, C, H, W] -> the change, the same
    shape, zero at the start.

    plan: one that stays within its pixel, `temporal` or with a window of one pixel. Positions in time are added to what
    the layers read, never to what they return. Independent frames attend to themselves. feed_forward: whether there is
    an MLP (VDM has none).
    feed_forward_first: another one before attention (Stable Video Diffusion).
    """

    def __init__(
        self,
        channels: int,
        head_dim: int,
        plan: AttentionPlan,
        positions: TimePositions,
        token_dim: int = 0,
        feed_forward: bool = True,
        qk_norm: bool = False,
        max_frames: int = 64,
        feed_forward_first: bool = False,
    ) -> None:
        super().__init__()
        self.rotary_dim = head_dim // 2 * 2 if positions == "rotary" else 0
        self.positions = time_embedding(channels, positions, max_frames)
        self.norms = nn.ModuleList(nn.LayerNorm(channels, NORM_EPS) for _ in range(1 + bool(token_dim) + feed_forward))
        self.attention = Attention(channels, head_dim, plan, qk_norm, zero_output=True)
        self.cross = CrossAttention(channels, head_dim, token_dim, qk_norm, zero_output=True) if token_dim else None
        self.feed_forward = FeedForward(channels, activation="geglu", zero_output=True) if feed_forward else None
        self.first = None
        if feed_forward_first:
            self.first = nn.Sequential(
                nn.LayerNorm(channels, NORM_EPS), FeedForward(channels, activation="geglu", zero_output=True)
            )

    def forward(self, x: torch.Tensor, inputs: LayerInputs) -> torch.Tensor:
        read = x.permute(0, 1, 3, 4, 2)
        frames = x.shape[1]
        if self.positions is not None:
            read = read + self.positions(frames, x.device, inputs.independent)[..., None, None, :].to(x.dtype)
        rotation = rotary_table((frames, 1, 1), (self.rotary_dim, 0, 0), x.device) if self.rotary_dim else None
        change = None if self.first is None else self.first(read)
        attended = self.attention(
            self.norms[0](read if change is None else read + change), rotation, inputs.independent
        )
        change = attended if change is None else change + attended
        if self.cross is not None and inputs.tokens is not None:
            change = change + self.cross(self.norms[1](read + change), inputs.tokens, inputs.token_mask)
        if self.feed_forward is not None:
            change = change + self.feed_forward(self.norms[-1](read + change))
        return change.permute(0, 1, 4, 2, 3)

    def flops(self, grid: Grid, tokens: int) -> int:
        """Floating point operations of a forward pass over one video with `tokens` tokens."""
        total = self.attention.flops(grid)
        total += self.cross.flops(grid, tokens) if self.cross is not None and tokens else 0
        feed_forwards = [layer for layer in self.modules() if isinstance(layer, FeedForward)]
        return total + sum(layer.flops(grid) for layer in feed_forwards)


def temporal_parameter_names(model: nn.Module) -> set[str]:
    """Names of the parameters that a video model has and its image model lacks: everything in temporal blocks, and the
    convolutions along time of pseudo-3D ones. The others are the image model's, to load and to freeze.
    """
    owners = [name for name, module in model.named_modules() if isinstance(module, TemporalBlock)]
    owners += [name for name, module in model.named_modules() if isinstance(module, TimeDownsample | TimeUpsample)]
    owners += [f"{name}.time" for name, module in model.named_modules() if isinstance(module, PseudoConvolution)]
    return {name for name, _ in model.named_parameters() if name.startswith(tuple(f"{owner}." for owner in owners))}


def _without(x: torch.Tensor, frames: torch.Tensor | None) -> torch.Tensor:
    return x if frames is None else x.masked_fill(frames, 0)
