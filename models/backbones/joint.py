"""Blocks in which text and pixels are two streams with weights of their own that attend together (MM-DiT, Esser et al.
2024, 2403.03206, section 4).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.backbones.contract import Conditioning
from clipmill.models.backbones.dit import DiT, DiTBlock, DiTConfig
from clipmill.models.backbones.sequence import BlockInputs, Part, Positions
from clipmill.models.layers.attention import attend, head_count
from clipmill.models.layers.embeddings import rotate
from clipmill.models.layers.feed_forward import FeedForward
from clipmill.models.layers.linear import xavier_linear
from clipmill.models.layers.norms import Modulation, modulated_layer_norm
from clipmill.models.layers.plan import Grid

# Queries, where there are any, keys, values.
Projected = tuple[torch.Tensor | None, torch.Tensor, torch.Tensor]


class Stream(nn.Module):
    """What text, or pixels, have of their own in a block: modulation, projections, norms and MLP. ends: only its keys
    and values are wanted, as of text in the last block.
    """

    def __init__(self, width: int, head_dim: int, mlp_ratio: float, qk_norm: bool, ends: bool = False) -> None:
        super().__init__()
        self.heads, self.head_dim = head_count(width, head_dim), head_dim
        self.modulation = Modulation(width, width, 2 if ends else 6)
        self.query_key_value = xavier_linear(width, (2 if ends else 3) * width)
        self.query_norm = nn.RMSNorm(head_dim) if qk_norm and not ends else nn.Identity()
        self.key_norm = nn.RMSNorm(head_dim) if qk_norm else nn.Identity()
        self.output = None if ends else xavier_linear(width, width)
        self.feed_forward = None if ends else FeedForward(width, mlp_ratio)

    def projected(self, read: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> Projected:
        """read: float [B, 1, 1, N, width] -> queries, keys and values [B, 1, N, heads, d]; no queries where it ends."""
        made = self.query_key_value(modulated_layer_norm(read, shift, scale).squeeze(1))
        *query, key, value = made.unflatten(-1, (-1, self.heads, self.head_dim)).unbind(3)
        return (self.query_norm(query[0]) if query else None), self.key_norm(key), value

    def answered(self, x: torch.Tensor, mixed: torch.Tensor, gates: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """x: float [B, 1, 1, N, width]; mixed: [B, 1, N, heads, d], what its queries found; gates: of attention, then
        shift, scale and gate of the MLP -> x after both.
        """
        if self.output is None or self.feed_forward is None:
            return x
        gate, shift, scale, gate_out = gates
        x = torch.addcmul(x, gate, self.output(mixed.flatten(3)).unsqueeze(1))
        return torch.addcmul(x, gate_out, self.feed_forward(modulated_layer_norm(x, shift, scale)))

    def flops(self, positions: int) -> int:
        """Floating point operations for so many positions but for attention itself, a multiply-add being two."""
        total = self.modulation.flops() + 2 * positions * self.query_key_value.weight.numel()
        total += 0 if self.output is None else 2 * positions * self.output.weight.numel()
        return total + (0 if self.feed_forward is None else self.feed_forward.flops((1, 1, positions)))


class JointBlock(nn.Module):
    """Attention over text and pixels as one row, and MLPs; starts as the identity. last: of the network, behind which
    nothing reads the text.
    """

    def __init__(self, width: int, head_dim: int, mlp_ratio: float, qk_norm: bool, last: bool) -> None:
        super().__init__()
        self.pixels = Stream(width, head_dim, mlp_ratio, qk_norm)
        self.text = Stream(width, head_dim, mlp_ratio, qk_norm, last)

    def forward(self, x: torch.Tensor, inputs: BlockInputs) -> torch.Tensor:
        """x: float [B, 1, 1, N + L, width], of which `inputs.text` says N, or [B, t, h, w, width] without text -> the
        same shape.
        """
        count = inputs.text
        read, row = (part.flatten(1, 3)[:, None, None] for part in (x if inputs.time is None else x + inputs.time, x))
        streams = (self.text, self.pixels)[0 if count else 1 :]
        sizes = [count, row.shape[3] - count][0 if count else 1 :]
        told = [stream.modulation(inputs.embedding) for stream in streams]
        asked = [
            stream.projected(part, vectors[0], vectors[1])
            for stream, part, vectors in zip(streams, read.split(sizes, dim=3), told, strict=True)
        ]
        mixed = self._mixed(asked, inputs)
        given = zip(streams, row.split(sizes, dim=3), self._cut(mixed, sizes), told, strict=True)
        return torch.cat([s.answered(part, found, vectors[2:]) for s, part, found, vectors in given], dim=3).view(
            x.shape
        )

    def flops(self, grid: Grid, tokens: int) -> int:
        """Floating point operations of a forward pass over one row of `grid` positions, of which `tokens` are text."""
        positions = grid[0] * grid[1] * grid[2]
        queries = positions if self.text.output is not None else positions - tokens
        attention = 4 * queries * positions * self.pixels.heads * self.pixels.head_dim
        return attention + self.pixels.flops(positions - tokens) + (self.text.flops(tokens) if tokens else 0)

    def _mixed(self, asked: list[Projected], inputs: BlockInputs) -> torch.Tensor:
        """[B, 1, n, heads, d], what all queries find; those of text first, where it has any."""
        key, value = torch.cat([one[1] for one in asked], dim=2), torch.cat([one[2] for one in asked], dim=2)
        query = torch.cat([one[0] for one in asked if one[0] is not None], dim=2)
        if inputs.rotation is not None:
            turns = inputs.rotation.flatten(0, 2)[None, None]
            query, key = rotate(query, turns[:, :, -query.shape[2] :]), rotate(key, turns)
        mask = None if inputs.key_mask is None else inputs.key_mask[:, None, None]
        return attend(query, key, value, mask)

    def _cut(self, mixed: torch.Tensor, sizes: list[int]) -> tuple[torch.Tensor, ...]:
        """Of each stream; nothing of one that does not ask."""
        asking = [0 if self.text.output is None and len(sizes) > 1 and k == 0 else n for k, n in enumerate(sizes)]
        return mixed.split(asking, dim=2)


class JointDiT(DiT):
    """As `DiT`, of joint blocks. The mean of the tokens is a part of the sample's vector, where the paper has
    vectors that CLIP makes of a whole text.
    """

    packs = False

    def __init__(self, config: DiTConfig) -> None:
        super().__init__(replace(config, vector_dim=config.vector_dim + config.token_dim))

    def forward(self, z: torch.Tensor, noise_level: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """See `DiT.forward`."""
        return super().forward(z, noise_level, self._with_mean(conditioning))

    def forward_packed(self, parts: Sequence[Part]) -> list[torch.Tensor]:
        """Raises UserError: streams of several videos in one row are not told apart."""
        raise UserError("joint text (backbone.options.text=joint) takes no packed steps: set data.packed=false")

    def _block(self, index: int) -> nn.Module:
        config = self.config
        last = index == config.depth - 1
        return JointBlock(config.width, config.head_dim, config.mlp_ratio, config.qk_norm, last)

    def _dit_blocks(self) -> list[DiTBlock]:
        return list(self.blocks)  # type: ignore[arg-type]

    def _positions(self, x: torch.Tensor, embedding: torch.Tensor, conditioning: Conditioning) -> Positions:
        found = super()._positions(x, embedding, conditioning)
        count = 0 if conditioning.tokens is None else conditioning.tokens.shape[1]
        return found._replace(inputs=found.inputs._replace(text=count))

    def _with_mean(self, conditioning: Conditioning) -> Conditioning:
        """Without text there is no vector at all, as before."""
        tokens, mask = conditioning.tokens, conditioning.token_mask
        if tokens is None:
            return conditioning
        there = tokens.new_ones(tokens.shape[:2]) if mask is None else mask.to(tokens)
        mean = (tokens * there[..., None]).sum(dim=1) / there.sum(dim=1, keepdim=True).clamp(min=1)
        known = conditioning.vector
        known = mean.new_zeros(len(mean), self.config.vector_dim - mean.shape[1]) if known is None else known.to(mean)
        return replace(conditioning, vector=torch.cat([known, mean], dim=1))
