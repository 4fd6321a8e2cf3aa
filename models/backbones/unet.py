"""The factorised space-time U-Net: an image U-Net with temporal layers put in, from VDM to Stable Video Diffusion by
its config.
"""

from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.backbones.contract import Conditioning, check_inputs, with_frames
from clipmill.models.backbones.sample_embedding import SampleEmbedding
from clipmill.models.backbones.unet_layers import ResidualBlock, SpaceTransformer
from clipmill.models.layers.convolution import SpaceConvolution, channels_last
from clipmill.models.layers.embeddings import TimePositions
from clipmill.models.layers.norms import FrameGroupNorm
from clipmill.models.layers.plan import SPATIAL, TEMPORAL, AttentionPlan, Grid
from clipmill.models.layers.recompute import run_block
from clipmill.models.layers.resampling import SpaceDownsample, SpaceUpsample, TimeDownsample, TimeUpsample
from clipmill.models.layers.temporal import (
    LayerInputs,
    MixerKind,
    TemporalBlock,
    TemporalConvolutions,
    TemporalTransformer,
)

Plans = tuple[AttentionPlan, ...]


@dataclass(frozen=True)
class UNetConfig:
    """multipliers: channels of each level, in units of width. depth: residual blocks per level (one more on the way
    up). plans: the attention after each residual block of a level, in order; plans that stay within their pixel become
    temporal blocks. mixer: see Mixer; dirac makes all 3 x 3 convolutions pseudo-3D. temporal_convolutions: a temporal
    residual block after each image one (Video LDM, Stable Video Diffusion). feed_forward: MLPs after attention;
    temporal_feed_forward_first: one more before attention along time (Stable Video Diffusion). frame_channels: channels
    of `Conditioning.frames`. control: a copy of the way down reads them, and steers the rest (`ControlledUNet`).
    noise_scale: see NoiseLevelEmbedding. time_factors: 1 or 2 for each level but the first, how many times fewer frames
    than the level before it has; () for all frames everywhere (2: Lumiere, 2401.12945).
    """

    in_channels: int = 4
    out_channels: int = 4
    width: int = 128
    multipliers: tuple[int, ...] = (1, 2, 4)
    depth: int = 2
    plans: tuple[Plans, ...] = ((SPATIAL, TEMPORAL),) * 3
    middle_plans: Plans = (SPATIAL, TEMPORAL)
    head_dim: int = 64
    mixer: MixerKind = "zero"
    temporal_convolutions: bool = False
    time_positions: TimePositions = "rotary"
    feed_forward: bool = True
    temporal_feed_forward_first: bool = False
    qk_norm: bool = False
    token_dim: int = 0
    vector_dim: int = 0
    frame_channels: int = 0
    control: bool = False
    groups: int = 32
    noise_scale: float = 1000.0
    max_frames: int = 64
    time_factors: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.plans) != len(self.multipliers):
            raise UserError(
                f"a U-Net of {len(self.multipliers)} levels needs as many attention plans, there are {len(self.plans)}"
            )
        if self.time_factors and (len(self.time_factors) != len(self.plans) - 1 or {*self.time_factors} - {1, 2}):
            raise UserError("a U-Net's time_factors are 1 or 2, one for each level but the first")
        if self.control and 2 in self.time_factors:
            raise UserError("a U-Net's control steers frame by frame: leave time_factors out, or control")
        if self.control and not self.frame_channels:
            raise UserError(
                "a U-Net's control reads what is given of the video: set conditioning.frames.given=structure"
            )

    @property
    def embedding_dim(self) -> int:
        """Channels of the embedding that every layer reads."""
        return 4 * self.width


class UNetLayer(nn.Module):
    """A residual block, its temporal twin, and attention: float [B, T, C, H, W] -> [B, T, D, H, W].

    Names of the image layers do not depend on the temporal ones, so that an image model's weights fit.
    """

    def __init__(self, config: UNetConfig, channels: int, out_channels: int, plans: Plans) -> None:
        super().__init__()
        self.residual = ResidualBlock(
            channels, out_channels, config.embedding_dim, config.groups, config.mixer == "dirac"
        )
        convolutions = (
            TemporalConvolutions(out_channels, config.embedding_dim, config.groups)
            if config.temporal_convolutions
            else None
        )
        self.time_residual = None if convolutions is None else TemporalBlock(convolutions, config.mixer)
        numbers = {True: count(), False: count()}
        self.attention = nn.ModuleDict()
        for plan in plans:
            name = f"{'space' if plan.mixes_pixels else 'time'}{next(numbers[plan.mixes_pixels])}"
            self.attention[name] = attention_layer(config, out_channels, plan)

    def forward(self, x: torch.Tensor, inputs: LayerInputs) -> torch.Tensor:
        x = self.residual(x, inputs)
        if self.time_residual is not None:
            x = self.time_residual(x, inputs)
        for layer in self.attention.values():
            x = layer(x, inputs)
        return x

    def flops(self, grid: Grid, tokens: int) -> int:
        """Floating point operations of a forward pass over one video of `grid` at this level's size with `tokens` text
        tokens, a multiply-add being two; norms and activations are left out.
        """
        total = self.residual.flops(grid) + (
            self.time_residual.flops(grid, tokens) if self.time_residual is not None else 0
        )
        layers: Any = self.attention.values()
        return total + sum(layer.flops(grid, tokens) for layer in layers)


class UNet(nn.Module):
    """float [B, T, in_channels, H, W] -> [B, T, out_channels, H, W] of any size, zero at the start (Video Diffusion
    Models, 2204.03458, section 3; temporal layers of Video LDM, 2304.08818, and Stable Video Diffusion, 2311.15127).
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config, self.recompute_every = config, 0
        widths = [config.width * multiplier for multiplier in config.multipliers]
        self.embedding = SampleEmbedding(config.embedding_dim, config.vector_dim, config.noise_scale)
        self.convolution_in = SpaceConvolution(config.in_channels + config.frame_channels, widths[0])
        skips, channels = [widths[0]], widths[0]
        self.down, self.downsample = nn.ModuleList(), nn.ModuleList()
        for level, width in enumerate(widths):
            for _ in range(config.depth):
                self.down.append(UNetLayer(config, channels, width, config.plans[level]))
                channels = width
                skips.append(channels)
            if level < len(widths) - 1:
                self.downsample.append(SpaceDownsample(channels))
                skips.append(channels)
        self.middle = nn.ModuleList(UNetLayer(config, channels, channels, plans) for plans in (config.middle_plans, ()))
        self.up, self.upsample = nn.ModuleList(), nn.ModuleList()
        self._add_way_up(config, skips, channels)
        self.time_down, self.time_up = nn.ModuleDict(), nn.ModuleDict()
        for level in (level for level, factor in enumerate(config.time_factors) if factor == 2):
            self.time_down[str(level)] = TimeDownsample(widths[level])
            self.time_up[str(level)] = TimeUpsample(widths[level + 1])

    def _add_way_up(self, config: UNetConfig, skips: list[int], channels: int) -> None:
        """skips: channels of each; channels: of the middle."""
        widths = [config.width * multiplier for multiplier in config.multipliers]
        for level, width in reversed(list(enumerate(widths))):
            for _ in range(config.depth + 1):
                self.up.append(UNetLayer(config, channels + skips.pop(), width, config.plans[level]))
                channels = width
            if level:
                self.upsample.append(SpaceUpsample(channels))
        self.norm_out = FrameGroupNorm(channels, config.groups)
        self.convolution_out = SpaceConvolution(channels, config.out_channels)
        nn.init.zeros_(self.convolution_out.weight)
        if self.convolution_out.bias is not None:
            nn.init.zeros_(self.convolution_out.bias)

    def forward(self, z: torch.Tensor, noise_level: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """z: float [B, T, in_channels, H, W]; noise_level: float [B]. T = 1: an image. Raises UserError for conditions
        without a place.
        """
        config = self.config
        check_inputs(z, conditioning, config.in_channels, config.vector_dim, config.token_dim, config.frame_channels)
        if conditioning.independent is not None and 2 in config.time_factors and z.shape[1] > 1:
            raise UserError("a U-Net of time_factors joins frames, and takes no images beside or among them")
        return self.decoded(*self.encoded(z, noise_level, conditioning))

    def encoded(
        self, z: torch.Tensor, noise_level: torch.Tensor, conditioning: Conditioning
    ) -> tuple[torch.Tensor, list[torch.Tensor], LayerInputs]:
        """What the way up is given: of the middle, the skips, and what layers get beside."""
        embedding = self.embedding(noise_level, conditioning.vector)
        inputs = LayerInputs(embedding, conditioning.tokens, conditioning.token_mask, conditioning.independent)
        x = self.convolution_in(channels_last(with_frames(z, conditioning.frames, self.config.frame_channels)))
        x, skips = self._down(x, inputs)
        for index, layer in enumerate(self.middle):
            x = run_block(layer, len(self.down) + index, self.recompute_every, x, inputs)
        return x, skips, inputs

    def decoded(self, x: torch.Tensor, skips: list[torch.Tensor], inputs: LayerInputs) -> torch.Tensor:
        """The prediction, of what `encoded` gave."""
        return self.convolution_out(F.silu(self.norm_out(self._up(x, skips, inputs))))

    def flops(self, grid: Grid, tokens: int = 0) -> int:
        """Floating point operations of a forward pass over one video of `grid` (frames, height, width) with `tokens`
        text tokens.
        """
        grids, depth = self._grids(grid), self.config.depth
        total = self.encoded_flops(grid, tokens) + self.convolution_out.flops(grid)
        total += sum(_flops(layer, grids[-1 - index // (depth + 1)], tokens) for index, layer in enumerate(self.up))
        time: Any = [*self.time_down.items(), *self.time_up.items()]
        # Convolutions along time see all frames; those on the way up at the size of the level below.
        total += sum(
            layer.convolution.flops((grids[int(level)][0], *grids[int(level) + 1][1:])) for level, layer in time
        )
        up: Any = self.upsample
        return total + sum(layer.flops(grids[-2 - step]) for step, layer in enumerate(up))

    def encoded_flops(self, grid: Grid, tokens: int) -> int:
        """The same, of `encoded` alone."""
        grids, depth = self._grids(grid), self.config.depth
        total = self.embedding.flops() + self.convolution_in.flops(grid)
        total += sum(_flops(layer, grids[index // depth], tokens) for index, layer in enumerate(self.down))
        total += sum(_flops(layer, grids[-1], tokens) for layer in self.middle)
        down: Any = self.downsample
        return total + sum(layer.flops(grids[level + 1]) for level, layer in enumerate(down))

    def _grids(self, grid: Grid) -> list[Grid]:
        """Of each level."""
        levels, frames = range(len(self.config.multipliers)), [grid[0]]
        for factor in self.config.time_factors or (1,) * len(levels):
            frames.append(-(-frames[-1] // factor))
        return [(frames[level], -(-grid[1] // 2**level), -(-grid[2] // 2**level)) for level in levels]

    def repeated_blocks(self) -> list[nn.Module]:
        """Layers on the way down, in the middle and on the way up; see `Backbone.repeated_blocks`."""
        return [*self.down, *self.middle, *self.up]

    def _down(self, x: torch.Tensor, inputs: LayerInputs) -> tuple[torch.Tensor, list[torch.Tensor]]:
        skips, depth = [x], self.config.depth
        for index, layer in enumerate(self.down):
            if index and index % depth == 0:
                level = str(index // depth - 1)
                x = self.downsample[int(level)](x)
                x = self.time_down[level](x) if level in self.time_down else x
                skips.append(x)
            x = run_block(layer, index, self.recompute_every, x, inputs)
            skips.append(x)
        return x, skips

    def _up(self, x: torch.Tensor, skips: list[torch.Tensor], inputs: LayerInputs) -> torch.Tensor:
        per_level, before = self.config.depth + 1, len(self.down) + len(self.middle)
        for index, layer in enumerate(self.up):
            skip = skips[-1 - index]
            if index and index % per_level == 0:
                step = index // per_level - 1
                level = str(len(self.upsample) - 1 - step)
                x = self.time_up[level](x, skip.shape[1]) if level in self.time_up else x
                x = self.upsample[step](x, skip.shape[3], skip.shape[4])
            x = run_block(layer, before + index, self.recompute_every, beside(x, skip), inputs)
        return x


def beside(x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
    """Channels of two videos [B, T, C, H, W] one after the other, as pictures: joined as videos they would lose their
    order in memory.
    """
    return torch.cat([x.flatten(0, 1), skip.flatten(0, 1)], dim=1).unflatten(0, x.shape[:2])


def attention_layer(config: UNetConfig, channels: int, plan: AttentionPlan) -> nn.Module:
    """float [B, T, channels, H, W] -> the same shape: a `SpaceTransformer` for a plan that mixes pixels, else a
    `TemporalBlock`. Raises UserError where heads of `head_dim` do not fill the channels.
    """
    if plan.mixes_pixels:
        return SpaceTransformer(channels, config.head_dim, plan, config.token_dim, config.feed_forward, config.qk_norm)
    options = (
        config.time_positions,
        config.token_dim,
        config.feed_forward,
        config.qk_norm,
        config.max_frames,
        config.temporal_feed_forward_first,
    )
    return TemporalBlock(TemporalTransformer(channels, config.head_dim, plan, *options), config.mixer)


def _flops(layer: nn.Module, grid: Grid, tokens: int) -> int:
    return layer.flops(grid, tokens) if isinstance(layer, UNetLayer) else 0
