"""The diffusion transformer over spacetime patches: DiT per frame, Latte's alternation, or full attention, by its
attention plans.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.backbones.contract import Conditioning, check_inputs, with_frames
from clipmill.models.backbones.long_skips import LongSkips
from clipmill.models.backbones.patches import patch_grid, patchify, unpatchify
from clipmill.models.backbones.sample_embedding import SampleEmbedding, SampleTokens
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
from clipmill.models.backbones.time_attention import TimeAttention
from clipmill.models.layers.attention import Attention, CrossAttention
from clipmill.models.layers.convolution import SpaceConvolution
from clipmill.models.layers.embeddings import (
    SpaceTable,
    TimePositions,
    rotary_channels,
    rotary_table,
    space_embedding,
    time_embedding,
)
from clipmill.models.layers.feed_forward import FeedForward
from clipmill.models.layers.linear import xavier_linear, zero_linear
from clipmill.models.layers.norms import NORM_EPS, FixedModulation, Modulation, modulated_layer_norm
from clipmill.models.layers.packing import Packing
from clipmill.models.layers.plan import SPATIAL, TEMPORAL, AttentionPlan, Grid
from clipmill.models.layers.recompute import run_block
from clipmill.models.layers.split_heads import SplitHeads


@dataclass(frozen=True)
class DiTConfig:
    """plans: repeated over the blocks: (SPATIAL, TEMPORAL) is Latte (2401.03048, variant 1), (FULL,) a Sora-like one.
    plans_in: turns, one after the other; rows, each as many blocks in a row (Latte's variant 2, late fusion).
    along_time: attention along time within every block; none; modulated, behind its attention, with a gate (Latte's
    variant 3); zero, likewise, behind text too, with an output that starts at zero (GenTron); heads, by half of its
    heads (Latte's variant 4). images_skip_time: images of their own pass by the blocks along time (Latte with images).
    patch: frames, height, width. space_positions: learned, a table of `space_sides` patches (height, width). text:
    cross, attention to tokens in every block that mixes pixels; in_context, tokens as part of the sequence (full
    attention only); joint, likewise, with weights of their own (`JointDiT`). told: how blocks are told of noise level
    and vector; modulation, of their norms and gates; tokens, of the sequence, where the norms of blocks have weights
    and no gates (U-ViT, full attention only). modulation_rank: of each block's own part of the modulation, the rest
    being shared; 0 for none shared (adaLN-LoRA, W.A.L.T.). long_skips: from the first half of the blocks to the last;
    final_convolution: 3 x 3 px, of each frame, at the end (both U-ViT). time_positions_in: branch, added to what
    attention along time reads, so that with closed gates it leaves the image model alone; stream, added once before the
    first of it (Latte). frame_channels: channels of `Conditioning.frames`. noise_scale: see NoiseLevelEmbedding.
    """

    in_channels: int = 4
    out_channels: int = 4
    width: int = 384
    depth: int = 12
    head_dim: int = 64
    patch: Grid = (1, 2, 2)
    plans: tuple[AttentionPlan, ...] = (SPATIAL, TEMPORAL)
    plans_in: Literal["turns", "rows"] = "turns"
    along_time: Literal["none", "modulated", "zero", "heads"] = "none"
    images_skip_time: bool = False
    mlp_ratio: float = 4.0
    space_positions: Literal["sinusoidal", "rotary", "learned"] = "sinusoidal"
    space_sides: tuple[int, ...] = (16, 16)
    time_positions: TimePositions = "sinusoidal"
    time_positions_in: Literal["branch", "stream"] = "branch"
    text: Literal["none", "cross", "in_context", "joint"] = "none"
    token_dim: int = 0
    vector_dim: int = 0
    frame_channels: int = 0
    told: Literal["modulation", "tokens"] = "modulation"
    modulation_rank: int = 0
    long_skips: bool = False
    final_convolution: bool = False
    qk_norm: bool = False
    noise_scale: float = 1000.0
    max_frames: int = 64

    def __post_init__(self) -> None:
        if (self.text == "none") != (self.token_dim == 0):
            raise UserError(
                f"a DiT with text {self.text!r} and tokens of {self.token_dim} channels: set both or neither"
            )
        full = all(plan.reach == "full" and not plan.causal for plan in self.plans) and self.along_time == "none"
        if self.in_row and not full:
            raise UserError(
                "text in context, and joint text, need full attention in every block: set plans to full, or text to"
                " 'cross'"
            )
        if self.told == "tokens" and (not full or self.modulation_rank or self.text == "cross"):
            raise UserError(
                "blocks that are told by tokens need full attention, and have neither modulation nor cross-attention:"
                " set plans to full, modulation_rank=0 and text to 'in_context', or told to 'modulation'"
            )
        if self.text == "joint" and (self.modulation_rank or self.told == "tokens"):
            raise UserError("joint text has a modulation of its own: set modulation_rank=0 and told to 'modulation'")
        if min(self.modulation_rank, *self.space_sides) < 0 or len(self.space_sides) != 2:
            raise UserError("a DiT takes modulation_rank of at least 0, and two space_sides, height and width")
        if min(self.patch) < 1 or not self.plans:
            raise UserError(
                f"a DiT needs patch sides of at least one and an attention plan, not {self.patch} and {self.plans}"
            )

    @property
    def in_row(self) -> bool:
        """Whether text and patches are one row of positions."""
        return self.text in ("in_context", "joint")

    @property
    def takes_images(self) -> bool:
        """Whether frames may be images of their own."""
        return self.patch[0] == 1 and not self.in_row and self.told != "tokens"


class DiTBlock(nn.Module):
    """Attention under a plan and an MLP, both modulated and gated by the sample's embedding; starts as the identity."""

    def __init__(self, config: DiTConfig, plan: AttentionPlan) -> None:
        super().__init__()
        width = config.width
        self.modulation = _modulation(config, 6, config.modulation_rank)
        kind = SplitHeads if config.along_time == "heads" else Attention
        self.attention = kind(width, config.head_dim, plan, config.qk_norm)
        self.reads_time = plan.mixes_frames or config.along_time == "heads"
        self.feed_forward = FeedForward(width, config.mlp_ratio)
        crosses = config.text == "cross" and plan.mixes_pixels
        self.cross_norm = nn.LayerNorm(width, NORM_EPS) if crosses else None
        self.cross = (
            CrossAttention(width, config.head_dim, config.token_dim, config.qk_norm, zero_output=True)
            if crosses
            else None
        )
        self.time_attention = (
            TimeAttention(width, config.head_dim, config.qk_norm, config.along_time == "modulated")
            if config.along_time in ("modulated", "zero")
            else None
        )

    def forward(self, x: torch.Tensor, inputs: BlockInputs) -> torch.Tensor:
        """x: float [B, t, h, w, width], or a row [1, 1, 1, L, width] where the inputs have a packing -> the same
        shape.
        """
        packing, time = inputs.packing, inputs.time if self.reads_time else None
        parts = inputs.spread(self.modulation(inputs.embedding, inputs.shared))
        shift, scale, gate, shift_out, scale_out, gate_out = parts
        read = modulated_layer_norm(x if time is None else x + time, shift, scale)
        x = torch.addcmul(x, gate, self._mixed(read, inputs))
        if self.cross is not None and self.cross_norm is not None:
            if packing is not None:
                x = x + cross_packed(self.cross, self.cross_norm(x), packing)
            elif inputs.tokens is not None:
                x = x + self.cross(self.cross_norm(x), inputs.tokens, inputs.token_mask)
        if self.time_attention is not None:
            x = self.time_attention(x, inputs)
        return torch.addcmul(x, gate_out, self.feed_forward(modulated_layer_norm(x, shift_out, scale_out)))

    def flops(self, grid: Grid, tokens: int) -> int:
        """Floating point operations of a forward pass over one video of `grid` positions with `tokens` text tokens, a
        multiply-add being two; norms and activations are left out.
        """
        total = self.modulation.flops() + self.attention.flops(grid) + self.feed_forward.flops(grid)
        total += 0 if self.time_attention is None else self.time_attention.flops(grid)
        return total + (self.cross.flops(grid, tokens) if self.cross is not None and tokens else 0)

    def _mixed(self, read: torch.Tensor, inputs: BlockInputs) -> torch.Tensor:
        if isinstance(self.attention, SplitHeads):
            rotations = inputs.rotation, inputs.time_rotation
            return self.attention(read, rotations, inputs.independent, inputs.packing)
        return self.attention(read, inputs.rotation, inputs.independent, inputs.key_mask, inputs.packing)


class DiT(nn.Module):
    """float [B, T, in_channels, H, W] -> [B, T, out_channels, H, W] of any size, zero at the start (2212.09748, section
    3.2). packs: whether there is `forward_packed`.
    """

    packs = True

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config, self.recompute_every = config, 0
        volume = config.patch[0] * config.patch[1] * config.patch[2]
        embedding = SampleEmbedding if config.told == "modulation" else SampleTokens
        self.embedding = embedding(config.width, config.vector_dim, config.noise_scale)
        self.patches_in = xavier_linear(volume * (config.in_channels + config.frame_channels), config.width)
        self.tokens_in = xavier_linear(config.token_dim, config.width) if config.in_row else None
        count = len(config.plans)
        self.plan_numbers = [
            index % count if config.plans_in == "turns" else index * count // config.depth
            for index in range(config.depth)
        ]
        self.plans = [config.plans[number] for number in self.plan_numbers]
        mixing = (k for k, plan in enumerate(self.plans) if plan.mixes_frames or config.along_time != "none")
        self.first_mixing = next(mixing, -1)
        self.time_positions = (
            time_embedding(config.width, config.time_positions, config.max_frames) if self.first_mixing >= 0 else None
        )
        self.blocks = nn.ModuleList(self._block(index) for index in range(config.depth))
        self.final_modulation = _modulation(config, 2)
        self.patches_out = zero_linear(config.width, volume * config.out_channels)
        # After all others, so that what is drawn for these depends on none of it.
        self.shared_modulation = Modulation(config.width, config.width, 6) if config.modulation_rank else None
        self.space_table = (
            SpaceTable(config.width, (config.space_sides[0], config.space_sides[1]))
            if config.space_positions == "learned"
            else None
        )
        self.skips = LongSkips(config.depth, config.width) if config.long_skips else None
        self.convolution_out = _unbiased(config.out_channels) if config.final_convolution else None

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
        words = len(self.embedding.places) if isinstance(self.embedding, SampleTokens) else 0
        if self.tokens_in is not None and tokens:
            total += 2 * tokens * self.tokens_in.weight.numel()
            words += tokens
        patches = (1, 1, positions + words) if words else patches
        total += 0 if self.shared_modulation is None else self.shared_modulation.flops()
        total += 0 if self.skips is None else self.skips.flops(positions + words)
        total += 0 if self.convolution_out is None else self.convolution_out.flops(grid)
        return total + sum(block.flops(patches, tokens) for block in self._dit_blocks())

    def repeated_blocks(self) -> list[nn.Module]:
        """The `depth` blocks; see `Backbone.repeated_blocks`."""
        return list(self.blocks)

    def _block(self, index: int) -> nn.Module:
        return DiTBlock(self.config, self.plans[index])

    def _dit_blocks(self) -> list[DiTBlock]:
        return [block for block in self.blocks if isinstance(block, DiTBlock)]

    def _check(self, z: torch.Tensor, conditioning: Conditioning) -> None:
        config = self.config
        check_inputs(z, conditioning, config.in_channels, config.vector_dim, config.token_dim, config.frame_channels)
        if conditioning.independent is not None and not config.takes_images:
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
        if self.space_table is not None:
            return x + self.space_table(x.shape[2], x.shape[3]).to(x.dtype)
        if config.space_positions == "rotary":
            return x
        return x + space_embedding(x.shape[2], x.shape[3], config.width, z.device).to(x.dtype)

    def _video(self, patches: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        video = unpatchify(patches, self.config.patch, (z.shape[1], z.shape[3], z.shape[4]))
        return video if self.convolution_out is None else self.convolution_out(video)

    def _positions(self, x: torch.Tensor, embedding: torch.Tensor, conditioning: Conditioning) -> Positions:
        """Patches [B, t, h, w, width] as blocks take them, behind what is told by tokens."""
        grid = (x.shape[1], x.shape[2], x.shape[3])
        time = None
        if self.time_positions is not None:
            time = self.time_positions(grid[0], x.device, conditioning.independent)[..., None, None, :].to(x.dtype)
        rotations = [self._rotation(plan, grid, x.device) for plan in self.config.plans]
        rotations.append(None if self.config.along_time == "none" else self._rotation(TEMPORAL, grid, x.device))
        given = BlockInputs(
            embedding, conditioning.tokens, conditioning.token_mask, conditioning.independent, None, time, None
        )
        words = [embedding.to(x.dtype)] if self.config.told == "tokens" else []
        if self.tokens_in is not None and conditioning.tokens is not None:
            words.append(self.tokens_in(conditioning.tokens).to(x.dtype))
        if not words:
            return Positions(x, given, rotations)
        if len(words) > 1 and given.token_mask is not None:
            given = given._replace(token_mask=F.pad(given.token_mask, [words[0].shape[1], 0], value=True))
        return with_text(x, torch.cat(words, dim=1), given, rotations)

    def _through_blocks(self, positions: Positions) -> torch.Tensor:
        in_stream = self.config.time_positions_in == "stream"
        x, given, rotations = positions
        shared = None if self.shared_modulation is None else self.shared_modulation.linear(given.embedding)
        base = given._replace(time_rotation=rotations[-1], shared=shared, time=None if in_stream else given.time)
        images = given.images() if self.config.images_skip_time else None
        kept: list[torch.Tensor] = []
        for index, (block, number) in enumerate(zip(self.blocks, self.plan_numbers, strict=True)):
            before = x
            if in_stream and given.time is not None and index == self.first_mixing:
                x = x + given.time
            x = x if self.skips is None else self.skips.before(index, x, kept)
            x = run_block(block, index, self.recompute_every, x, base._replace(rotation=rotations[number]))
            if images is not None and not self.plans[index].mixes_pixels:
                x = torch.where(images, before, x)
            if self.skips is not None:
                self.skips.after(index, x, kept)
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


def _modulation(config: DiTConfig, count: int, rank: int = 0) -> Modulation | FixedModulation:
    if config.told == "tokens":
        return FixedModulation(config.width, count)
    return Modulation(config.width, config.width, count, rank)


def _unbiased(channels: int) -> SpaceConvolution:
    """A new one, that makes zeros of zeros."""
    layer = SpaceConvolution(channels, channels)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


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
