"""The diffusion transformer over spacetime patches: DiT per frame, Latte's alternation, or full attention, by its
attention plans.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.backbones.contract import Conditioning, check_inputs, with_frames
from clipmill.models.backbones.patches import patch_grid, patchify, unpatchify
from clipmill.models.backbones.sample_embedding import SampleEmbedding
from clipmill.models.backbones.sequence import (
    BlockInputs,
    Part,
    Positions,
    packed,
    unpacked,
    with_text,
    without_padding,
    without_text,
)
from clipmill.models.layers.attention import Attention, CrossAttention
from clipmill.models.layers.embeddings import (
    TimePositions,
    rotary_channels,
    rotary_table,
    space_embedding,
    time_embedding,
)
from clipmill.models.layers.feed_forward import FeedForward
from clipmill.models.layers.linear import xavier_linear, zero_linear
from clipmill.models.layers.norms import NORM_EPS, Modulation, modulated_layer_norm
from clipmill.models.layers.packing import Packing
from clipmill.models.layers.plan import SPATIAL, TEMPORAL, AttentionPlan, Grid
from clipmill.models.layers.recompute import run_block


@dataclass(frozen=True)
class DiTConfig:
    """plans: repeated over the blocks: (SPATIAL, TEMPORAL) is Latte (2401.03048, variant 1), (FULL,) a Sora-like one.
    patch: frames, height, width. text: cross, attention to tokens in every block that mixes pixels; in_context, tokens
    as part of the sequence (full attention only). time_positions_in: branch, added to what the blocks that mix frames
    read, so that with closed gates they leave the image model alone; stream, added once before the first of them
    (Latte). frame_channels: channels of `Conditioning.frames`.
    noise_scale: see NoiseLevelEmbedding.
    """

    in_channels: int = 4
    out_channels: int = 4
    width: int = 384
    depth: int = 12
    head_dim: int = 64
    patch: Grid = (1, 2, 2)
    plans: tuple[AttentionPlan, ...] = (SPATIAL, TEMPORAL)
    mlp_ratio: float = 4.0
    space_positions: Literal["sinusoidal", "rotary"] = "sinusoidal"
    time_positions: TimePositions = "sinusoidal"
    time_positions_in: Literal["branch", "stream"] = "branch"
    text: Literal["none", "cross", "in_context"] = "none"
    token_dim: int = 0
    vector_dim: int = 0
    frame_channels: int = 0
    qk_norm: bool = False
    noise_scale: float = 1000.0
    max_frames: int = 64

    def __post_init__(self) -> None:
        if (self.text == "none") != (self.token_dim == 0):
            raise UserError(
                f"a DiT with text {self.text!r} and tokens of {self.token_dim} channels: set both or neither"
            )
        if self.text == "in_context" and any(plan.reach != "full" or plan.causal for plan in self.plans):
            raise UserError(
                "text in context needs full attention in every block: set plans to full, or text to 'cross'"
            )
        if min(self.patch) < 1 or not self.plans:
            raise UserError(
                f"a DiT needs patch sides of at least one and an attention plan, not {self.patch} and {self.plans}"
            )


class DiTBlock(nn.Module):
    """Attention under a plan and an MLP, both modulated and gated by the sample's embedding; starts as the identity."""

    def __init__(self, config: DiTConfig, plan: AttentionPlan) -> None:
        super().__init__()
        width = config.width
        self.modulation = Modulation(width, width, 6)
        self.attention = Attention(width, config.head_dim, plan, config.qk_norm)
        self.feed_forward = FeedForward(width, config.mlp_ratio)
        crosses = config.text == "cross" and plan.mixes_pixels
        self.cross_norm = nn.LayerNorm(width, NORM_EPS) if crosses else None
        self.cross = (
            CrossAttention(width, config.head_dim, config.token_dim, config.qk_norm, zero_output=True)
            if crosses
            else None
        )

    def forward(self, x: torch.Tensor, inputs: BlockInputs) -> torch.Tensor:
        """x: float [B, t, h, w, width], or a row [1, 1, 1, L, width] where the inputs have a packing -> the same
        shape.
        """
        packing = inputs.packing
        parts = self.modulation(inputs.embedding)
        shift, scale, gate, shift_out, scale_out, gate_out = parts if packing is None else map(packing.spread, parts)
        read = modulated_layer_norm(x if inputs.time is None else x + inputs.time, shift, scale)
        x = torch.addcmul(x, gate, self.attention(read, inputs.rotation, inputs.independent, inputs.key_mask, packing))
        if self.cross is not None and self.cross_norm is not None:
            if packing is not None:
                x = x + cross_packed(self.cross, self.cross_norm(x), packing)
            elif inputs.tokens is not None:
                x = x + self.cross(self.cross_norm(x), inputs.tokens, inputs.token_mask)
        return torch.addcmul(x, gate_out, self.feed_forward(modulated_layer_norm(x, shift_out, scale_out)))

    def flops(self, grid: Grid, tokens: int) -> int:
        """Floating point operations of a forward pass over one video of `grid` positions with `tokens` text tokens, a
        multiply-add being two; norms and activations are left out.
        """
        total = self.modulation.flops() + self.attention.flops(grid) + self.feed_forward.flops(grid)
        return total + (self.cross.flops(grid, tokens) if self.cross is not None and tokens else 0)


class DiT(nn.Module):
    """float [B, T, in_channels, H, W] -> [B, T, out_channels, H, W] of any size, zero at the start (2212.09748, section
    3.2).
    """

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config, self.recompute_every = config, 0
        volume = config.patch[0] * config.patch[1] * config.patch[2]
        self.embedding = SampleEmbedding(config.width, config.vector_dim, config.noise_scale)
        self.patches_in = xavier_linear(volume * (config.in_channels + config.frame_channels), config.width)
        self.tokens_in = xavier_linear(config.token_dim, config.width) if config.text == "in_context" else None
        self.plans = [config.plans[index % len(config.plans)] for index in range(config.depth)]
        self.first_mixing = next((index for index, plan in enumerate(self.plans) if plan.mixes_frames), -1)
        self.time_positions = (
            time_embedding(config.width, config.time_positions, config.max_frames) if self.first_mixing >= 0 else None
        )
        self.blocks = nn.ModuleList(DiTBlock(config, plan) for plan in self.plans)
        self.final_modulation = Modulation(config.width, config.width, 2)
        self.patches_out = zero_linear(config.width, volume * config.out_channels)

    def forward(self, z: torch.Tensor, noise_level: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """z: float [B, T, in_channels, H, W]; noise_level: float [B]. T = 1: an image. Raises UserError for conditions
        without a place.
        """
        self._check(z, conditioning)
        embedding = self.embedding(noise_level, conditioning.vector)
        x = self._patches(z, conditioning)
        grid = (x.shape[1], x.shape[2], x.shape[3])
        x = without_text(self._through_blocks(self._positions(x, embedding, conditioning)), grid)
        shift, scale = self.final_modulation(embedding)
        return self._video(self.patches_out(modulated_layer_norm(x, shift, scale)), z)

    def forward_packed(self, parts: Sequence[Part]) -> list[torch.Tensor]:
        """Videos of several shapes in one sequence without padding: the same as `forward` for each part, z [B, T,
        in_channels, H, W] -> [B, T, out_channels, H, W], with large matrix products however few videos a part has.
        Raises UserError as `forward` does.
        """
        for part in parts:
            self._check(part.z, part.conditioning)
        cut = [[part] if self.tokens_in is None else without_padding(part) for part in parts]
        found = iter(self._packed([piece for pieces in cut for piece in pieces]))
        return [torch.cat([next(found) for _ in pieces]) for pieces in cut]

    def flops(self, grid: Grid, tokens: int = 0) -> int:
        """Floating point operations of a forward pass over one video of `grid` (frames, height, width) with `tokens`
        text tokens.
        """
        patches = patch_grid(grid, self.config.patch)
        positions = patches[0] * patches[1] * patches[2]
        total = self.embedding.flops() + self.final_modulation.flops()
        total += 2 * positions * (self.patches_in.weight.numel() + self.patches_out.weight.numel())
        if self.tokens_in is not None and tokens:
            total += 2 * tokens * self.tokens_in.weight.numel()
            patches = (1, 1, positions + tokens)
        return total + sum(block.flops(patches, tokens) for block in self._dit_blocks())

    def repeated_blocks(self) -> list[nn.Module]:
        """The `depth` blocks; see `Backbone.repeated_blocks`."""
        return list(self.blocks)

    def _dit_blocks(self) -> list[DiTBlock]:
        return [block for block in self.blocks if isinstance(block, DiTBlock)]

    def _check(self, z: torch.Tensor, conditioning: Conditioning) -> None:
        config = self.config
        check_inputs(z, conditioning, config.in_channels, config.vector_dim, config.token_dim, config.frame_channels)
        if conditioning.independent is not None and (config.patch[0] > 1 or config.text == "in_context"):
            raise UserError("independent frames need patches of a single frame, and no text in context")

    def _packed(self, parts: Sequence[Part]) -> list[torch.Tensor]:
        embeddings = [self.embedding(part.noise_level, part.conditioning.vector) for part in parts]
        patches = [self._patches(part.z, part.conditioning) for part in parts]
        several = [
            self._positions(x, e, part.conditioning) for x, e, part in zip(patches, embeddings, parts, strict=True)
        ]
        together = packed(several, torch.cat(embeddings))
        packing = together.inputs.packing
        assert packing is not None
        shift, scale = map(packing.spread, self.final_modulation(together.inputs.embedding))
        row = self.patches_out(modulated_layer_norm(self._through_blocks(together), shift, scale))
        found = zip(unpacked(row, packing.shapes), patches, parts, strict=True)
        return [
            self._video(without_text(part, (x.shape[1], x.shape[2], x.shape[3])), given.z) for part, x, given in found
        ]

    def _patches(self, z: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """float [B, t, h, w, width], told their places in a frame."""
        config = self.config
        x = self.patches_in(patchify(with_frames(z, conditioning.frames, config.frame_channels), config.patch))
        if config.space_positions != "sinusoidal":
            return x
        return x + space_embedding(x.shape[2], x.shape[3], config.width, z.device).to(x.dtype)

    def _video(self, patches: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return unpatchify(patches, self.config.patch, (z.shape[1], z.shape[3], z.shape[4]))

    def _positions(self, x: torch.Tensor, embedding: torch.Tensor, conditioning: Conditioning) -> Positions:
        """Patches [B, t, h, w, width] as blocks take them, behind the text where it is in context."""
        grid = (x.shape[1], x.shape[2], x.shape[3])
        time = None
        if self.time_positions is not None:
            time = self.time_positions(grid[0], x.device, conditioning.independent)[..., None, None, :].to(x.dtype)
        rotations = [self._rotation(plan, grid, x.device) for plan in self.config.plans]
        given = BlockInputs(
            embedding, conditioning.tokens, conditioning.token_mask, conditioning.independent, None, time, None
        )
        if self.tokens_in is None or conditioning.tokens is None:
            return Positions(x, given, rotations)
        return with_text(x, self.tokens_in(conditioning.tokens).to(x.dtype), given, rotations)

    def _through_blocks(self, positions: Positions) -> torch.Tensor:
        in_stream = self.config.time_positions_in == "stream"
        x, given, rotations = positions
        for index, (block, plan) in enumerate(zip(self.blocks, self.plans, strict=True)):
            if in_stream and given.time is not None and index == self.first_mixing:
                x = x + given.time
            inputs = given._replace(rotation=rotations[index % len(rotations)])
            if in_stream or not plan.mixes_frames:
                inputs = inputs._replace(time=None)
            x = run_block(block, index, self.recompute_every, x, inputs)
        return x

    def _rotation(self, plan: AttentionPlan, grid: Grid, device: torch.device) -> torch.Tensor | None:
        """The turns that tell positions along the axes which `plan` mixes and whose positions are rotary."""
        in_time = self.config.time_positions == "rotary" and plan.mixes_frames
        in_space = self.config.space_positions == "rotary" and plan.mixes_pixels
        if not (in_time or in_space):
            return None
        head_dim = self.config.head_dim
        half = head_dim // 4 * 2
        channels = (
            rotary_channels(head_dim)
            if in_time and in_space
            else (head_dim // 2 * 2, 0, 0)
            if in_time
            else (0, half, half)
        )
        return rotary_table((grid[0], 1, 1) if plan.reach == "temporal" else grid, channels, device)


@torch._disable_dynamo
def cross_packed(cross: CrossAttention, x: torch.Tensor, packing: Packing) -> torch.Tensor:
    """Each part of a row [1, 1, 1, L, width] attends to its own tokens; zeros for a part without any. -> the same
    shape.

    No part of a compiled graph, because shapes change from batch to batch.
    """
    found = []
    for part, tokens, mask in zip(packing.parts(x[0, 0, 0]), packing.tokens, packing.token_mask, strict=True):
        found.append((torch.zeros_like(part) if tokens is None else cross(part, tokens, mask)).flatten(0, 3))
    return torch.cat(found)[None, None, None]
