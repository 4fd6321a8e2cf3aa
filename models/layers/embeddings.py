"""Numbers and positions as vectors: sinusoids, noise levels, rotary tables, positions in time and space,
micro-conditioning.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.layers.plan import Grid

MAX_PERIOD = 10_000.0
# Root mean square of a sinusoid: learned embeddings of the same size start as visible as sinusoidal ones.
UNIT_SCALE_STD = 0.7
SMALL_STD = 0.02

TimeEmbeddingKind = Literal["sinusoidal", "learned", "unit"]
TimePositions = Literal["none", "rotary"] | TimeEmbeddingKind


def sinusoids(values: torch.Tensor, dim: int, max_period: float = MAX_PERIOD) -> torch.Tensor:
    """float [...] -> float32 [..., dim]: cosines, then sines, of the values times dim / 2 frequencies that fall
    geometrically from 1 towards 1 / max_period (1706.03762, section 3.5). Computed in float32 under autocast too.
    Raises UserError for an odd dim.
    """
    if dim % 2:
        raise UserError(f"a sinusoidal embedding needs an even width, not {dim}")
    exponents = torch.arange(dim // 2, device=values.device, dtype=torch.float32) / (dim // 2)
    angles = values.float().unsqueeze(-1) * max_period**-exponents
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class NoiseLevelEmbedding(nn.Module):
    """float [B] -> float [B, dim] by sinusoids and a two-layer MLP (DiT, 2212.09748). Values are multiplied by `scale`
    first: 1000 for levels of order one, such as a time in [0, 1] or EDM's ln(sigma) / 4; 1 for discrete steps.
    """

    def __init__(self, dim: int, scale: float = 1000.0, frequency_dim: int = 256) -> None:
        super().__init__()
        self.scale, self.frequency_dim = scale, frequency_dim
        self.inner, self.output = nn.Linear(frequency_dim, dim), nn.Linear(dim, dim)
        for layer in (self.inner, self.output):
            nn.init.normal_(layer.weight, std=SMALL_STD)

    def forward(self, noise_level: torch.Tensor) -> torch.Tensor:
        frequencies = sinusoids(noise_level.float() * self.scale, self.frequency_dim).to(self.inner.weight.dtype)
        return self.output(F.silu(self.inner(frequencies)))

    def flops(self) -> int:
        """Floating point operations of the MLP for one sample, a multiply-add being two; the sinusoids are left out."""
        return 2 * (self.inner.weight.numel() + self.output.weight.numel())


class MicroConditioning(nn.Module):
    """Numbers that describe a clip (frame rate, motion, aspect ratio): float [B, count] -> float32 [B, count * dim],
    each as sinusoids (SDXL, 2307.01952, section 2.2; Stable Video Diffusion, 2311.15127, appendix D). No parameters.
    Raises UserError for another count.
    """

    def __init__(self, count: int, dim: int = 256) -> None:
        super().__init__()
        self.count, self.dim = count, dim

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if values.ndim != 2 or values.shape[1] != self.count:
            raise UserError(f"micro-conditioning takes numbers [B, {self.count}], not {list(values.shape)}")
        return sinusoids(values, self.dim).flatten(1)


class TimeEmbedding(nn.Module):
    """A vector per frame index: float [T, dim], or [B, T, dim] where some frames are independent; of unit scale unless
    "learned". An image of its own is at the first place, wherever it stands in the batch.

    sinusoidal: fixed, root mean square 0.71. unit: learned, started at a standard deviation of 0.7. learned: started at
    0.02; small trainings with it learn frames but not their order. Raises UserError for more than max_frames frames
    where there is a table.
    """

    def __init__(self, dim: int, kind: TimeEmbeddingKind, max_frames: int = 64) -> None:
        super().__init__()
        self.dim, self.max_frames = dim, max_frames
        self.table = None if kind == "sinusoidal" else nn.Parameter(torch.empty(max_frames, dim))
        if self.table is not None:
            nn.init.normal_(self.table, std=UNIT_SCALE_STD if kind == "unit" else SMALL_STD)

    def forward(self, frames: int, device: torch.device, independent: torch.Tensor | None = None) -> torch.Tensor:
        """independent: bool [B, T], frames that are images of their own."""
        if self.table is not None and frames > self.max_frames:
            raise UserError(
                f"the model knows positions of {self.max_frames} frames, the clip has {frames}: build it with more"
                " max_frames"
            )
        places = torch.arange(frames, device=device)
        row = sinusoids(places, self.dim) if self.table is None else self.table[:frames]
        return row if independent is None else row[places.expand_as(independent).masked_fill(independent, 0)]


def time_embedding(dim: int, positions: TimePositions, max_frames: int) -> TimeEmbedding | None:
    """What is added to features for their place in time: nothing where positions are rotary or none."""
    return None if positions == "none" or positions == "rotary" else TimeEmbedding(dim, positions, max_frames)


class SpaceTable(nn.Module):
    """A learned vector per place in a frame: float [height, width, dim], started at a standard deviation of 0.02
    (U-ViT, 2209.12152). Raises UserError for more than `sides` (height, width).
    """

    def __init__(self, dim: int, sides: tuple[int, int]) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(*sides, dim))
        nn.init.normal_(self.table, std=SMALL_STD)

    def forward(self, height: int, width: int) -> torch.Tensor:
        most = tuple(self.table.shape[:2])
        if height > most[0] or width > most[1]:
            raise UserError(
                f"the model knows places of {most[0]} x {most[1]} patches, the picture has {height} x {width}: make it"
                " smaller, or train with larger backbone.options.space_sides"
            )
        return self.table[:height, :width]


def space_embedding(height: int, width: int, dim: int, device: torch.device) -> torch.Tensor:
    """float32 [height, width, dim]: half the channels are sinusoids of the row, half of the column (2212.09748). dim: a
    multiple of 4.
    """
    if dim % 4:
        raise UserError(
            f"a sinusoidal embedding of rows and columns needs a width that is a multiple of four, not {dim}"
        )
    rows, columns = (sinusoids(torch.arange(side, device=device), dim // 2) for side in (height, width))
    return torch.cat([rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)], dim=-1)


def rotary_channels(head_dim: int) -> Grid:
    """Channels of a head that turn with time, row and column: about a quarter, three eighths, three eighths; all
    even.
    """
    side = head_dim * 3 // 16 * 2
    return (head_dim - 2 * side) // 2 * 2, side, side


def rotary_table(grid: Grid, channels: Grid, device: torch.device, max_period: float = MAX_PERIOD) -> torch.Tensor:
    """float32 [T, H, W, 2, sum(channels) / 2]: cosine and sine of the angles by which pairs of channels turn (RoFormer,
    2104.09864, equation 15), one frequency band per axis. channels: how many channels turn with time, row and column,
    each even.
    """
    angles = []
    for axis, (side, dim) in enumerate(zip(grid, channels, strict=True)):
        exponents = torch.arange(dim // 2, device=device, dtype=torch.float32) / max(dim // 2, 1)
        angle = torch.arange(side, device=device, dtype=torch.float32)[:, None] * max_period**-exponents
        shape = [1, 1, 1, dim // 2]
        shape[axis] = side
        angles.append(angle.view(shape).expand(*grid, dim // 2))
    turned = torch.cat(angles, dim=-1)
    return torch.stack([turned.cos(), turned.sin()], dim=-2)


def rotate(x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Turns the first 2 n channels of float [B, G, N, heads, d] by a table [1 or B, 1 or G, 1 or N, 2, n]; the rest
    stays. Dtype of x.
    """
    cosine, sine = table.unsqueeze(3).unbind(4)
    half = cosine.shape[-1]
    first, second, rest = x[..., :half].float(), x[..., half : 2 * half].float(), x[..., 2 * half :]
    turned = torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1).to(x.dtype)
    return torch.cat([turned, rest], dim=-1) if rest.shape[-1] else turned
