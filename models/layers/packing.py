"""Videos of several shapes in one row of positions, without padding (patch n' pack, NaViT, 2307.06304)."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from clipmill.models.layers.plan import AttentionPlan, partition

# Videos, frames, height, width.
Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class Packing:
    """What belongs to the positions of a row that holds parts one after the other, each some videos of one shape.
    shapes: of the parts, in positions. video: int64 [L], the number of each position's video. independent: per part
    bool [B, t], see `plan.group_mask`, or None.
    tokens, token_mask: per part float [B, N, D] and bool [B, N] to attend to, or None.
    """

    shapes: tuple[Shape, ...]
    video: torch.Tensor
    independent: tuple[torch.Tensor | None, ...]
    tokens: tuple[torch.Tensor | None, ...]
    token_mask: tuple[torch.Tensor | None, ...]

    def parts(self, row: torch.Tensor) -> list[torch.Tensor]:
        """[L, ...] -> a view [B, t, h, w, ...] of each part."""
        return split_row(row, self.shapes)

    def spread(self, vectors: torch.Tensor) -> torch.Tensor:
        """One for each video, [N, 1, 1, 1, dim], as one for each position: [1, 1, 1, L, dim]."""
        return vectors.flatten(0, 3).index_select(0, self.video)[None, None, None]


class Row(NamedTuple):
    """A row of L positions sorted by the groups of a plan: int64 [L] each. order: place in the row; group: number,
    ascending; frame: in its video.
    """

    order: torch.Tensor
    group: torch.Tensor
    frame: torch.Tensor


def length_of(shape: Shape) -> int:
    """Positions of a part."""
    return shape[0] * shape[1] * shape[2] * shape[3]


def split_row(row: torch.Tensor, shapes: tuple[Shape, ...]) -> list[torch.Tensor]:
    """[L, ...] -> a view [B, t, h, w, ...] of each part."""
    parts = row.split([length_of(shape) for shape in shapes])
    return [part.unflatten(0, shape) for part, shape in zip(parts, shapes, strict=True)]


def videos_of_row(shapes: tuple[Shape, ...], device: torch.device) -> torch.Tensor:
    """int64 [L]: the number of each position's video."""
    lengths = torch.tensor([length_of(shape) // shape[0] for shape in shapes for _ in range(shape[0])], device=device)
    total = sum(map(length_of, shapes))
    return torch.arange(len(lengths), device=device).repeat_interleave(lengths, output_size=total)


def row_of(plan: AttentionPlan, shapes: tuple[Shape, ...], device: torch.device) -> Row:
    """plan: one whose keys are the positions of its groups."""
    places = torch.arange(sum(map(length_of, shapes)), device=device)
    parts, groups = [], 0
    for place in split_row(places, shapes):
        part = _by_groups(plan, place)
        parts.append(part._replace(group=part.group + groups))
        groups = int(parts[-1].group[-1]) + 1
    return Row(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _by_groups(plan: AttentionPlan, places: torch.Tensor) -> Row:
    """places: int64 [B, t, h, w]."""
    frames = torch.arange(places.shape[1], device=places.device).view(1, -1, 1, 1).expand_as(places)
    # Windows that are cut short are filled up with zeros: what is real is not zero.
    order, frame = partition(places + 1, plan).flatten(0, 1), partition(frames, plan).flatten(0, 1)
    group = torch.arange(len(order), device=places.device)[:, None].expand_as(order)
    real = order > 0
    return Row(order[real] - 1, group[real], frame[real])
