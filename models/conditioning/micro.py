"""Micro-conditioning: numbers about a clip, out of the manifest's columns."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from clipmill.curate.errors import UserError, closest
from clipmill.models.conditioning.config import MicroConfig
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.layers.embeddings import MicroConditioning

# The frequencies of sinusoids reach from 1 down to 1 / 10,000. For numbers from about -6 to 6 that differ by a
# hundredth they should reach from 100 down to 0.01: faster ones are noise between neighbouring values, slower ones the
# same for all.
SINUSOID_SCALE = 100.0


def micro_numbers(
    config: MicroConfig, numbers: Mapping[str, torch.Tensor], batch: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 [B, columns], standardised, 0 where unknown; and bool [B, columns], where known.

    numbers: column -> float32 [B], NaN or absent for unknown. Raises UserError for a column that the model has no place
    for.
    """
    unheard = [name for name in numbers if name not in config.columns]
    if unheard:
        others = closest(unheard[0], config.columns) if config.columns else ""
        raise UserError(f"this model is not conditioned on {unheard[0]!r}{others}: leave it out")
    unknown = torch.full((batch,), torch.nan)
    given = [standardised(name, numbers.get(name, unknown).float(), config.fps_offset) for name in config.columns]
    values = torch.stack(given, dim=1) if given else torch.zeros(batch, 0)
    known = torch.isfinite(values)
    return values.where(known, 0.0), known


def standardised(column: str, values: torch.Tensor, fps_offset: float = 0.0) -> torch.Tensor:
    """sign(x) ln(1 + |x|), of any shape: frame rates, ratios, motion in pixels and scores alike end up within a few
    units of zero; small numbers stay as they are, of large ones the ratio counts. fps_offset: added to the column fps
    first.
    """
    moved = values + fps_offset if column == "fps" else values
    return moved.sign() * moved.abs().log1p()


def with_number(config: MicroConfig, conditions: Conditions, column: str, values: torch.Tensor | float) -> Conditions:
    """Conditions of a model of `config` with one number put in, the same or float [B]."""
    assert conditions.micro is not None
    assert conditions.micro_known is not None
    place, micro, known = config.columns.index(column), conditions.micro.clone(), conditions.micro_known.clone()
    micro[:, place] = standardised(column, torch.as_tensor(values, dtype=torch.float32)).to(micro)
    known[:, place] = True
    return replace(conditions, micro=micro, micro_known=known)


def number_of(config: MicroConfig, conditions: Conditions, column: str) -> torch.Tensor:
    """float32 [B]: what `with_number` put in, but for rounding."""
    assert conditions.micro is not None
    told = conditions.micro[:, config.columns.index(column)]
    return told.sign() * told.abs().expm1()


def without_number(config: MicroConfig, conditions: Conditions, column: str) -> Conditions:
    """For a model of the same config without that column."""
    assert conditions.micro is not None
    assert conditions.micro_known is not None
    kept = [place for place in range(conditions.micro.shape[1]) if place != config.columns.index(column)]
    some = replace(conditions, micro=conditions.micro[:, kept], micro_known=conditions.micro_known[:, kept])
    return some if kept else replace(conditions, micro=None, micro_known=None)


class MicroEmbedding(nn.Module):
    """float32 [B, count] and bool [B, count] -> float32 [B, count * dim]: sinusoids, zeros for what is unknown. No
    parameters.
    """

    def __init__(self, count: int, dim: int) -> None:
        super().__init__()
        self.sinusoids = MicroConditioning(count, dim)

    def forward(self, values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        return self.sinusoids(values * SINUSOID_SCALE) * known.repeat_interleave(self.sinusoids.dim, dim=1)
