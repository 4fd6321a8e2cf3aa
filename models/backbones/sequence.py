"""The positions that a DiT's blocks work on, with what belongs to them: one video, one with text before it, or several
in a row.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F

from clipmill.models.backbones.contract import Conditioning
from clipmill.models.layers.packing import Packing, Shape, split_row, videos_of_row
from clipmill.models.layers.plan import Grid


class BlockInputs(NamedTuple):
    """What a block gets beside its positions [B, t, h, w, width]; see LayerInputs. time: float [t, 1, 1, width] or a
    full grid of it; with a batch before it where frames are independent.
    packing: of positions [1, 1, 1, L, width] of several videos; tokens and independent frames are said there,
    embeddings are one per video. time_rotation: of attention along time beside another plan. shared: float [B, 6 *
    width], what the modulations of all blocks have in common. text: how many positions, the first ones, are of another
    stream (joint text).
    """

    embedding: torch.Tensor
    tokens: torch.Tensor | None
    token_mask: torch.Tensor | None
    independent: torch.Tensor | None
    rotation: torch.Tensor | None
    time: torch.Tensor | None
    key_mask: torch.Tensor | None
    packing: Packing | None = None
    time_rotation: torch.Tensor | None = None
    shared: torch.Tensor | None = None
    text: int = 0

    def spread(self, vectors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        """Vectors of videos, [B, 1, 1, 1, width] each, as they broadcast over positions."""
        return vectors if self.packing is None else tuple(map(self.packing.spread, vectors))

    def images(self) -> torch.Tensor | None:
        """bool [B, t, 1, 1, 1], or [1, 1, 1, L, 1] of a row: positions of frames that are images of their own; None
        where there are none.
        """
        if self.packing is None:
            return None if self.independent is None else self.independent[:, :, None, None, None]
        if all(one is None for one in self.packing.independent):
            return None
        none = self.packing.video.new_zeros((), dtype=torch.bool)
        parts = zip(self.packing.independent, self.packing.shapes, strict=True)
        rows = [(none if one is None else one[:, :, None, None]).expand(shape).flatten() for one, shape in parts]
        return torch.cat(rows)[None, None, None, :, None]


class Positions(NamedTuple):
    """x: float [B, t, h, w, width]. rotations: one for each attention plan of the config, and one along time behind."""

    x: torch.Tensor
    inputs: BlockInputs
    rotations: list[torch.Tensor | None]


class Part(NamedTuple):
    """Videos of one shape, for a pass with others of other shapes. z: float [B, T, C, H, W]; noise_level: float [B]."""

    z: torch.Tensor
    noise_level: torch.Tensor
    conditioning: Conditioning


def with_text(
    x: torch.Tensor, tokens: torch.Tensor, given: BlockInputs, rotations: list[torch.Tensor | None]
) -> Positions:
    """Tokens, of text or of the sample, and patches as one row of positions: x [B, t, h, w, width] -> [B, 1, 1, N + t h
    w, width], and what belongs to it.

    Tokens come first and have no place in time and space.
    """
    count, grid = tokens.shape[1], x.shape[1:4]
    row = torch.cat([tokens, x.flatten(1, 3)], dim=1)[:, None, None]
    time, key_mask = given.time, given.token_mask
    if time is not None:
        time = F.pad(time.expand(*grid, -1).flatten(0, 2), [0, 0, count, 0])[None, None]
    if key_mask is not None:
        key_mask = F.pad(key_mask, [0, row.shape[3] - count], value=True)
    turns = [
        None if rotation is None else _unturned_before(rotation.flatten(0, 2), count)[None, None]
        for rotation in rotations
    ]
    return Positions(row, BlockInputs(given.embedding, None, None, None, None, time, key_mask), turns)


def without_text(x: torch.Tensor, grid: Grid) -> torch.Tensor:
    """The video's positions [B, t, h, w, width] of what `with_text` made, or of itself."""
    return x.flatten(1, 3)[:, -grid[0] * grid[1] * grid[2] :].unflatten(1, grid)


def without_padding(part: Part) -> list[Part]:
    """Each video by itself with no more text than it has, where text is padded."""
    mask = part.conditioning.token_mask
    if mask is None or part.conditioning.tokens is None:
        return [part]
    return [_video(part, index, mask[index]) for index in range(len(part.z))]


def packed(several: Sequence[Positions], embedding: torch.Tensor) -> Positions:
    """One row [1, 1, 1, L, width] of the positions of all, in their order. embedding: float [N, width], one per
    video.
    """
    shapes: tuple[Shape, ...] = tuple((*one.x.shape[:4],) for one in several)
    inputs = [one.inputs for one in several]
    row = torch.cat([one.x.flatten(0, 3) for one in several])[None, None, None]
    rotations = [_in_row(turns, shapes, 2) for turns in zip(*(one.rotations for one in several), strict=True)]
    columns = (tuple(column) for column in zip(*((i.independent, i.tokens, i.token_mask) for i in inputs), strict=True))
    packing = Packing(shapes, videos_of_row(shapes, row.device), *columns)
    return Positions(
        row,
        BlockInputs(embedding, None, None, None, None, _in_row([i.time for i in inputs], shapes, 1), None, packing),
        rotations,
    )


def unpacked(row: torch.Tensor, shapes: Sequence[Shape]) -> list[torch.Tensor]:
    """[1, 1, 1, L, width] -> a view [B, t, h, w, width] of each part."""
    return split_row(row[0, 0, 0], tuple(shapes))


def _in_row(tables: Sequence[torch.Tensor | None], shapes: tuple[Shape, ...], axes: int) -> torch.Tensor | None:
    """[t or 1, h or 1, w or 1, ...] of each part, or of each of its videos, -> [1, 1, L, ...]. axes: of a position's
    values.
    """
    there = [table for table in tables if table is not None]
    if not there:
        return None
    inner = there[0].shape[-axes:]
    return torch.cat([table.expand(*shape, *inner).flatten(0, 3) for table, shape in zip(there, shapes, strict=True)])[
        None, None
    ]


def _video(part: Part, index: int, mask: torch.Tensor) -> Part:
    conditioning = part.conditioning.map(lambda tensor: tensor[index : index + 1])
    assert conditioning.tokens is not None
    kept = replace(conditioning, tokens=conditioning.tokens[:, mask], token_mask=None)
    return Part(part.z[index : index + 1], part.noise_level[index : index + 1], kept)


def _unturned_before(table: torch.Tensor, count: int) -> torch.Tensor:
    """[L, 2, n] -> [count + L, 2, n], the first ones of angle zero."""
    still = torch.zeros_like(table[:1]).expand(count, -1, -1).clone()
    still[:, 0] = 1.0
    return torch.cat([still, table])
