"""FlexAttention over a row of positions: groups of every size in one call, and blocks in which no query sees a key are
not read.

For GPUs, where it is compiled; elsewhere dense attention group by group is faster, and CPUs have no backward pass for
it.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from clipmill.models.layers.packing import Shape, row_of
from clipmill.models.layers.plan import AttentionPlan, window_cell

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

_BLOCK = 128
_MIN_HEAD_DIM = 16


class RowLayout(NamedTuple):
    """order: int64 [L'], positions of the row by groups, filled up to whole blocks with repetitions that nobody sees;
    back: int64 [L], where each position of the row went.
    """

    order: torch.Tensor
    back: torch.Tensor
    mask: "BlockMask"


def runs_flex(device: torch.device) -> bool:
    """Whether FlexAttention is compiled and differentiable there."""
    return device.type == "cuda"


def flex_helps(plan: AttentionPlan, shapes: tuple[Shape, ...], head_dim: int, x: torch.Tensor) -> bool:
    """Whether it beats attention of equal groups, which needs no mask. Few positions per group (temporal) are left to
    that one. Heads: the sizes that torch 2.6 takes.
    """
    if plan.reach not in ("full", "window") or not runs_flex(x.device) or x.dtype == torch.float64:
        return False
    cut = any(
        side % cell
        for _, *grid in shapes
        for side, cell in zip(grid, window_cell(plan, (grid[0], grid[1], grid[2])), strict=True)
    )
    return (plan.causal or cut or len(shapes) > 1) and head_dim >= _MIN_HEAD_DIM and head_dim & (head_dim - 1) == 0


@torch._disable_dynamo
def flex_attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, plan: AttentionPlan, shapes: tuple[Shape, ...]
) -> torch.Tensor:
    """softmax(q kᵀ / √d) v within the groups of `plan`: float [B, 1, L, heads, d] -> the same shape. Each of the B rows
    holds videos of `shapes` one after the other. plan: one whose keys are the positions of its groups. No part of a
    compiled graph, because shapes change from batch to batch.
    """
    layout = row_layout(plan, shapes, query.device)
    # Autocast leaves normed queries and keys in float32.
    parts = (
        part.to(value.dtype).squeeze(1).index_select(1, layout.order).transpose(1, 2) for part in (query, key, value)
    )
    return _flex(query.device)(*parts, block_mask=layout.mask).transpose(1, 2).index_select(1, layout.back).unsqueeze(1)


@lru_cache(maxsize=16)
def row_layout(plan: AttentionPlan, shapes: tuple[Shape, ...], device: torch.device) -> RowLayout:
    """The same for every layer and step with these shapes."""
    # Tensors made under inference mode could not be used in a later training step.
    with torch.inference_mode(False), torch.no_grad():
        row = row_of(plan, shapes, device)
        length = len(row.order)
        back = torch.empty_like(row.order)
        back[row.order] = torch.arange(length, device=device)
        missing = -length % _BLOCK
        order = torch.cat([row.order, row.order[:1].expand(missing)])
        group = torch.cat([row.group, row.group[-1:].expand(missing) + 1])
        frame = torch.cat([row.frame, row.frame[:1].expand(missing)]) if plan.causal else None
        return RowLayout(order, back, _block_mask(group, frame))


def _block_mask(group: torch.Tensor, frame: torch.Tensor | None) -> "BlockMask":
    """group: int64 [L], ascending, of whole blocks; frame: int64 [L], where only frames up to its own are seen. Made
    from the ends of blocks: a mask between positions would not fit in memory.
    """
    from torch.nn.attention.flex_attention import BlockMask

    def sees(batch: Any, head: Any, query: Any, key: Any) -> Any:
        same = group[query] == group[key]
        return same if frame is None else same & (frame[query] >= frame[key])

    low, high = group[::_BLOCK], group[_BLOCK - 1 :: _BLOCK]
    some = (low[:, None] <= high) & (low <= high[:, None])
    every = (low[:, None] == high) & (low == high[:, None])
    if frame is not None:
        low, high = frame.view(-1, _BLOCK).aminmax(dim=1)
        some, every = some & (high[:, None] >= low), every & (low[:, None] >= high)
    return BlockMask.from_kv_blocks(*_listed(some & ~every), *_listed(every), _BLOCK, sees)


def _listed(blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """bool [Q, K] -> int32 [1, 1, Q], how many blocks of keys; int32 [1, 1, Q, K], which, the others behind them."""
    found = blocks.sum(dim=1).int(), blocks.byte().argsort(dim=1, descending=True, stable=True).int()
    return found[0][None, None], found[1][None, None].contiguous()


def _flex(device: torch.device) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return _compiled_flex() if device.type == "cuda" else flex_attention


@lru_cache(maxsize=1)
def _compiled_flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)
