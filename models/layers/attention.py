"""Multi-head attention over a video under an attention plan, and cross-attention to tokens."""

import torch
import torch.nn.functional as F
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.layers.embeddings import rotate
from clipmill.models.layers.flex import flex_attend, flex_helps
from clipmill.models.layers.linear import xavier_linear, zero_linear
from clipmill.models.layers.packing import Packing
from clipmill.models.layers.plan import (
    AttentionPlan,
    Grid,
    group_mask,
    join,
    padded_positions,
    partition,
    query_key_pairs,
)


class Attention(nn.Module):
    """Self-attention, float [B, T, H, W, dim] -> the same shape; layers that mix frames and layers that do not differ
    in `plan` only.

    dim must be a multiple of head_dim. qk_norm: RMS norm of queries and keys per head, with learned scale (2302.05442,
    section 2.1).
    zero_output: the last layer, bias included, starts at zero, so that a residual around this layer starts as the
    identity.
    """

    def __init__(
        self,
        dim: int,
        head_dim: int,
        plan: AttentionPlan,
        qk_norm: bool = False,
        bias: bool = True,
        zero_output: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.head_dim, self.plan = head_count(dim, head_dim), head_dim, plan
        self.query_key_value = xavier_linear(dim, 3 * dim, bias)
        self.query_norm, self.key_norm = (nn.RMSNorm(head_dim) if qk_norm else nn.Identity() for _ in range(2))
        self.output = (zero_linear if zero_output else xavier_linear)(dim, dim)

    def forward(
        self,
        x: torch.Tensor,
        rotation: torch.Tensor | None = None,
        independent: torch.Tensor | None = None,
        key_mask: torch.Tensor | None = None,
        packing: Packing | None = None,
    ) -> torch.Tensor:
        """x: float [B, T, H, W, dim]. rotation: float32 [T, H, W, 2, n] from `embeddings.rotary_table`, or [T, 1, 1, 2,
        n] for a temporal plan. independent: bool [B, T], see `plan.group_mask`. key_mask: bool [B, T * H * W] for a
        full plan, False for positions nobody sees. packing: of x [1, 1, 1, L, dim] that holds several videos, and the
        table of each in rotation [1, 1, L, 2, n]; what is independent is said there. Raises UserError where the plan
        has no place for one of them.
        """
        if packing is not None:
            return self._packed(x, rotation, packing)
        self._check(independent, key_mask)
        grid = (x.shape[1], x.shape[2], x.shape[3])
        if independent is None and key_mask is None and flex_helps(self.plan, ((1, *grid),), self.head_dim, x):
            row, turns = x.flatten(1, 3).unsqueeze(1), None if rotation is None else rotation.flatten(0, 2)[None, None]
            return self.output(flex_attend(*self._projected(row, turns), self.plan, ((1, *grid),)).flatten(3)).view(
                x.shape
            )
        groups = partition(x, self.plan)
        if self.plan.reach == "diagonal":
            # The softmax over a single key is one.
            return join(self.output(self._values(groups)), self.plan, grid)
        turns = None if rotation is None else partition(rotation.unsqueeze(0), self.plan)
        mixed = self._within(*self._projected(groups, turns), grid, independent, key_mask)
        return join(self.output(mixed.flatten(3)), self.plan, grid)

    def flops(self, grid: Grid) -> int:
        """Floating point operations of a forward pass over one video, a multiply-add being two."""
        positions, weights = padded_positions(self.plan, grid), self.query_key_value.weight.numel()
        weights = weights // 3 if self.plan.reach == "diagonal" else weights
        pairs = query_key_pairs(self.plan, grid) * self.heads * self.head_dim
        return 2 * positions * (weights + self.output.weight.numel()) + 4 * pairs

    def _values(self, groups: torch.Tensor) -> torch.Tensor:
        bias: torch.Tensor | None = self.query_key_value.bias
        return F.linear(groups, self.query_key_value.weight.chunk(3)[2], None if bias is None else bias.chunk(3)[2])

    def _projected(
        self, groups: torch.Tensor, turns: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values [B, G, N, heads, d] of [B, G, N, dim], turned by [1, G, N, 2, n]."""
        query, key, value = self.query_key_value(groups).unflatten(-1, (3, self.heads, self.head_dim)).unbind(3)
        query, key = self.query_norm(query), self.key_norm(key)
        return (query, key, value) if turns is None else (rotate(query, turns), rotate(key, turns), value)

    def _within(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        grid: Grid,
        independent: torch.Tensor | None,
        key_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """[B, G, N, heads, d] each, the groups of videos of `grid` -> the same shape."""
        mask = group_mask(self.plan, grid, independent, query.device) if self.plan.within_groups else None
        if key_mask is not None:
            mask = key_mask[:, None, None] if mask is None else mask & key_mask[:, None, None]
        return attend(query, *self._seen(key, value), mask)

    def _packed(self, x: torch.Tensor, rotation: torch.Tensor | None, packing: Packing) -> torch.Tensor:
        """[1, 1, 1, L, dim] -> the same shape."""
        if self.plan.reach == "diagonal":
            return self.output(self._values(x))
        mixed = self._mixed_in_row(*self._projected(x.flatten(1, 2), rotation), packing)
        return self.output(mixed.flatten(3)).view(x.shape)

    @torch._disable_dynamo
    def _mixed_in_row(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, packing: Packing
    ) -> torch.Tensor:
        """[1, 1, L, heads, d] each -> the same shape. No part of a compiled graph, because shapes change from batch to
        batch.
        """
        if not any(map(_matters, packing.independent)) and flex_helps(self.plan, packing.shapes, self.head_dim, query):
            return flex_attend(query, key, value, self.plan, packing.shapes)
        mixed = []
        for *parts, independent in zip(
            *(packing.parts(row[0, 0]) for row in (query, key, value)), packing.independent, strict=True
        ):
            self._check(independent, None)
            grid = (parts[0].shape[1], parts[0].shape[2], parts[0].shape[3])
            q, k, v = (partition(part, self.plan) for part in parts)
            mixed.append(join(self._within(q, k, v, grid, independent), self.plan, grid).flatten(0, 3))
        return torch.cat(mixed)[None, None]

    def _seen(self, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values [B, G, N, heads, d] of the positions themselves, or of the frames that the plan names: [B, 1
        or G, K, heads, d].
        """
        if self.plan.reach == "frames":
            chosen = list(self.plan.key_frames)
            return key[:, chosen].flatten(1, 2).unsqueeze(1), value[:, chosen].flatten(1, 2).unsqueeze(1)
        if self.plan.reach == "previous":
            return _first_and_previous(key), _first_and_previous(value)
        return key, value

    def _check(self, independent: torch.Tensor | None, key_mask: torch.Tensor | None) -> None:
        if independent is not None and self.plan.mixes_frames and not self.plan.within_groups:
            raise UserError(f"independent frames have no meaning for attention of reach {self.plan.reach!r}")
        if key_mask is not None and self.plan.reach != "full":
            raise UserError(f"masked positions need attention of reach 'full', not {self.plan.reach!r}")


class CrossAttention(nn.Module):
    """Every position of a video attends to the tokens of its sample: float [B, T, H, W, dim], [B, N, token_dim] -> [B,
    T, H, W, dim].

    Tokens are projected once per sample, not once per frame.
    """

    def __init__(
        self, dim: int, head_dim: int, token_dim: int, qk_norm: bool = False, zero_output: bool = False
    ) -> None:
        super().__init__()
        self.heads, self.head_dim, self.token_dim = head_count(dim, head_dim), head_dim, token_dim
        self.query = xavier_linear(dim, dim)
        self.key_value = xavier_linear(token_dim, 2 * dim)
        self.query_norm, self.key_norm = (nn.RMSNorm(head_dim) if qk_norm else nn.Identity() for _ in range(2))
        self.output = (zero_linear if zero_output else xavier_linear)(dim, dim)

    def forward(self, x: torch.Tensor, tokens: torch.Tensor, token_mask: torch.Tensor | None = None) -> torch.Tensor:
        """token_mask: bool [B, N], False for padding. A sample without any token gets zeros from the attention."""
        query = self.query(x).flatten(1, 3).unflatten(-1, (self.heads, self.head_dim)).unsqueeze(1)
        key, value = self.key_value(tokens).unflatten(-1, (2, self.heads, self.head_dim)).unsqueeze(1).unbind(3)
        mask = None if token_mask is None else token_mask[:, None, None]
        return self.output(attend(self.query_norm(query), self.key_norm(key), value, mask).reshape(x.shape))

    def flops(self, grid: Grid, tokens: int) -> int:
        """Floating point operations of a forward pass over one video."""
        positions, dim = grid[0] * grid[1] * grid[2], self.heads * self.head_dim
        return 4 * positions * dim * dim + 4 * tokens * self.token_dim * dim + 4 * positions * tokens * dim


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """softmax(q kᵀ / √d) v within groups: float [B, G, N, heads, d], keys and values [B, 1 or G, K, heads, d] -> [B, G,
    N, heads, d].

    mask: bool, broadcastable to [B, G, N, K], True where a query sees a key; a query that sees nothing gets zeros.
    """
    batch, groups = query.shape[:2]
    if key.shape[1] != groups:
        # All groups share their keys: one long group, so that nothing is copied.
        return attend(query.flatten(1, 2).unsqueeze(1), key, value, None).reshape(query.shape)
    query, key, value = (part.flatten(0, 1).transpose(1, 2) for part in (query, key, value))
    if mask is not None:
        mask = mask.expand(batch, groups, mask.shape[2], mask.shape[3]).flatten(0, 1).unsqueeze(1)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return mixed.transpose(1, 2).unflatten(0, (batch, groups))


def head_count(dim: int, head_dim: int) -> int:
    """Raises UserError where heads of this size do not fill the width."""
    if dim % head_dim:
        raise UserError(
            f"attention of width {dim} cannot be cut into heads of {head_dim}: choose a head size that divides it"
        )
    return dim // head_dim


def _matters(independent: torch.Tensor | None) -> bool:
    """A video of a single frame is alone anyway."""
    return independent is not None and independent.shape[1] > 1


def _first_and_previous(x: torch.Tensor) -> torch.Tensor:
    """[B, T, S, ...] -> [B, T, 2 S, ...]: frame 0 and the frame before; frame 0 stands before itself."""
    first = x[:, :1]
    return torch.cat([first.expand_as(x), torch.cat([first, x[:, :-1]], dim=1)], dim=2)
