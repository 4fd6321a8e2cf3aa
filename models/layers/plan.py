"""Which positions an attention layer looks at, as data: the plan, the groups it cuts a video into, and the mask within
groups.
"""

from dataclasses import dataclass
from math import prod
from typing import Literal

import torch
import torch.nn.functional as F

from clipmill.curate.errors import UserError

Grid = tuple[int, int, int]
Reach = Literal["spatial", "temporal", "full", "window", "frames", "previous", "diagonal"]

_WITHIN_GROUPS = ("spatial", "temporal", "full", "window")


@dataclass(frozen=True)
class AttentionPlan:
    """The keys that the query at frame t and pixel p of a grid (frames, height, width) sees.

    reach: spatial, all pixels of frame t; temporal, pixel p of all frames; full, everything; window, its cell of a
    tiling with cells of `window` (frames, height, width; 0 is the whole axis; cells at the end may be cut short);
    frames, all pixels of `key_frames` (negative ones count from the end), as in Text2Video-Zero (2303.13439, section
    3.3.2) and ControlVideo (2305.13077); previous, all pixels of frames 0 and t - 1, as in Tune-A-Video (2212.11565,
    equation 5); diagonal, itself only. causal: of these, frames up to t only. Raises UserError for a plan that
    contradicts itself.
    """

    reach: Reach
    causal: bool = False
    window: Grid = (0, 0, 0)
    key_frames: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.causal and self.reach not in ("temporal", "full", "window"):
            raise UserError(f"an attention plan of reach {self.reach!r} cannot be causal")
        if min(self.window) < 0 or (self.reach == "frames" and not self.key_frames):
            raise UserError(
                f"an attention plan needs window sides >= 0 and, for reach 'frames', the key frames: {self}"
            )

    @property
    def mixes_frames(self) -> bool:
        """Whether queries can see other frames than their own."""
        return self.reach not in ("spatial", "diagonal") and not (self.reach == "window" and self.window[0] == 1)

    @property
    def mixes_pixels(self) -> bool:
        """Whether queries can see other pixels than their own."""
        return self.reach not in ("temporal", "diagonal") and not (self.reach == "window" and self.window[1:] == (1, 1))

    @property
    def within_groups(self) -> bool:
        """Whether queries and keys are the same positions, so that a mask between positions makes sense."""
        return self.reach in _WITHIN_GROUPS


SPATIAL = AttentionPlan("spatial")
TEMPORAL = AttentionPlan("temporal")
FULL = AttentionPlan("full")
CAUSAL = AttentionPlan("full", causal=True)
TEMPORAL_CAUSAL = AttentionPlan("temporal", causal=True)
FIRST_FRAME = AttentionPlan("frames", key_frames=(0,))
FIRST_AND_PREVIOUS = AttentionPlan("previous")
DIAGONAL = AttentionPlan("diagonal")


def window_cell(plan: AttentionPlan, grid: Grid) -> Grid:
    """Sides of the cells that `plan` cuts `grid` into, in positions."""
    frames, height, width = grid
    if plan.reach == "window":
        frames, height, width = (min(side or whole, whole) for side, whole in zip(plan.window, grid, strict=True))
    return frames, height, width


def partition(x: torch.Tensor, plan: AttentionPlan) -> torch.Tensor:
    """[B, T, H, W, ...] of any dtype -> groups [B, G, N, ...] within which `plan` attends. Cells of a window beyond the
    end hold zeros.

    A view where memory allows. One group per frame for the plans whose keys come from other frames.
    """
    if plan.reach == "temporal":
        return x.flatten(2, 3).transpose(1, 2)
    if plan.reach == "full":
        return x.flatten(1, 3).unsqueeze(1)
    if plan.reach == "window":
        return _cells(x, window_cell(plan, _grid(x)))
    return x.flatten(2, 3)


def join(groups: torch.Tensor, plan: AttentionPlan, grid: Grid) -> torch.Tensor:
    """The inverse of `partition`: [B, G, N, ...] -> [B, T, H, W, ...]."""
    pixels = grid[1:]
    if plan.reach == "temporal":
        return groups.transpose(1, 2).unflatten(2, pixels)
    if plan.reach == "full":
        return groups.squeeze(1).unflatten(1, grid)
    if plan.reach == "window":
        return _from_cells(groups, window_cell(plan, grid), grid)
    return groups.unflatten(2, pixels)


def group_mask(
    plan: AttentionPlan, grid: Grid, independent: torch.Tensor | None, device: torch.device
) -> torch.Tensor | None:
    """bool [1 or B, 1 or G, N, N], True where a query (rows) sees a key; None where all see all.

    independent: bool [B, T], frames that are images of their own: they see only themselves and no other frame sees them
    (Video Diffusion Models, 2204.03458, section 3.1).
    """
    if plan.reach == "temporal":
        grid = (grid[0], 1, 1)
    mask = None
    frame = partition(torch.arange(grid[0], device=device).view(1, -1, 1, 1).expand(1, *grid), plan)
    if plan.causal:
        mask = frame.unsqueeze(-1) >= frame.unsqueeze(-2)
    if independent is not None and plan.mixes_frames:
        alone = partition(independent[:, :, None, None].expand(-1, *grid), plan)
        linked = (frame.unsqueeze(-1) == frame.unsqueeze(-2)) | ~(alone.unsqueeze(-1) | alone.unsqueeze(-2))
        mask = linked if mask is None else mask & linked
    if plan.reach == "window" and any(side % cell for side, cell in zip(grid, window_cell(plan, grid), strict=True)):
        real = partition(torch.ones(1, *grid, dtype=torch.bool, device=device), plan)
        # A query outside the video may see everything inside: with no key at all its softmax, and every gradient, would
        # be undefined.
        mask = real.unsqueeze(-2) & (~real.unsqueeze(-1) | (True if mask is None else mask))
    return mask


def query_key_pairs(plan: AttentionPlan, grid: Grid) -> int:
    """Pairs of a query and a key that one head computes for one video: masked pairs count too, they are computed."""
    frames, pixels = grid[0], grid[1] * grid[2]
    if plan.reach == "frames":
        return frames * pixels * len(plan.key_frames) * pixels
    if plan.reach == "previous":
        return frames * pixels * 2 * pixels
    if plan.reach == "diagonal":
        return 0
    return padded_positions(plan, grid) * _group_size(plan, grid)


def padded_positions(plan: AttentionPlan, grid: Grid) -> int:
    """Positions of one video after its windows are filled up."""
    return prod(-(-side // cell) * cell for side, cell in zip(grid, window_cell(plan, grid), strict=True))


def _group_size(plan: AttentionPlan, grid: Grid) -> int:
    frames, height, width = window_cell(plan, grid)
    return {"spatial": height * width, "temporal": frames}.get(plan.reach, frames * height * width)


def _grid(x: torch.Tensor) -> Grid:
    return x.shape[1], x.shape[2], x.shape[3]


def _cells(x: torch.Tensor, cell: Grid) -> torch.Tensor:
    """[B, T, H, W, ...] -> [B, cells, positions of a cell, ...]."""
    missing = [-side % step for side, step in zip(_grid(x), cell, strict=True)]
    if any(missing):
        inner = [0] * (2 * (x.ndim - 4))
        x = F.pad(x, [*inner, 0, missing[2], 0, missing[1], 0, missing[0]])
    for axis, step in zip((1, 3, 5), cell, strict=True):
        x = x.unflatten(axis, (-1, step))
    rest = range(7, x.ndim)
    return x.permute(0, 1, 3, 5, 2, 4, 6, *rest).flatten(4, 6).flatten(1, 3)


def _from_cells(groups: torch.Tensor, cell: Grid, grid: Grid) -> torch.Tensor:
    counts = [-(-side // step) for side, step in zip(grid, cell, strict=True)]
    x = groups.unflatten(2, cell).unflatten(1, counts)
    x = x.permute(0, 1, 4, 2, 5, 3, 6, *range(7, x.ndim))
    x = x.flatten(5, 6).flatten(3, 4).flatten(1, 2)
    return x[:, : grid[0], : grid[1], : grid[2]]
