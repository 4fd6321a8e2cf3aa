"""Which noise levels training sees: distributions, each a function of one uniform number per sample (see
`clipmill.models.core.noise`).
"""

from dataclasses import dataclass
from typing import Protocol

import torch

from clipmill.curate.errors import UserError
from clipmill.models.core.noise_level import NoiseLevel
from clipmill.models.core.schedules import Schedule, step_of_time, time_of_step


class LevelSampler(Protocol):
    """A distribution of noise levels, from quiet to noisy as the uniform number grows."""

    def level(self, uniform: torch.Tensor, schedule: Schedule) -> NoiseLevel:
        """uniform: float64 in [0, 1), any shape, which is the level's. Spread-out uniform numbers give spread-out
        levels.
        """
        ...


@dataclass(frozen=True)
class Uniform:
    """Uniform in t. steps: where given, only t = 1 / steps, 2 / steps ... 1, each equally often: the discrete view."""

    steps: int | None = None

    def level(self, uniform: torch.Tensor, schedule: Schedule) -> NoiseLevel:
        """See `LevelSampler.level`: at t = uniform, or with `steps` at the next of their times, which may be `uniform`
        itself.
        """
        if self.steps is None:
            return schedule.level(uniform)
        # A number of exactly 0 belongs to the first step too.
        return schedule.level(time_of_step(step_of_time(uniform, self.steps), self.steps))


@dataclass(frozen=True)
class LogitNormal:
    """logit(t) ~ N(mean, std²) (Esser et al. 2024, equation 19): few samples near clean data and pure noise."""

    mean: float = 0.0
    std: float = 1.0

    def level(self, uniform: torch.Tensor, schedule: Schedule) -> NoiseLevel:
        """See `LevelSampler.level`: at t = sigmoid(mean + std q), q the standard normal's quantile at `uniform`."""
        return schedule.level(torch.sigmoid(self.mean + self.std * _normal_quantile(uniform)))


@dataclass(frozen=True)
class Mode:
    """t = 1 - u - scale (cos²(pi u / 2) - 1 + u) (Esser et al. 2024, equation 20): the middle more often where scale >
    0, the ends where < 0.

    Their u runs from noisy to quiet; here it is turned around. Raises UserError outside -1 <= scale <= 2 / (pi - 2),
    where t would not be monotone.
    """

    scale: float = 1.29

    def __post_init__(self) -> None:
        if not -1 <= self.scale <= 2 / (torch.pi - 2):
            raise UserError(f"the scale of mode sampling lies between -1 and 1.75, not {self.scale}")

    def level(self, uniform: torch.Tensor, schedule: Schedule) -> NoiseLevel:
        """See `LevelSampler.level`: at the t of equation 20 for u = 1 - uniform."""
        turned = 1 - uniform
        return schedule.level(
            (1 - turned - self.scale * ((torch.pi / 2 * turned).cos().square() - 1 + turned)).clamp(0, 1)
        )


@dataclass(frozen=True)
class LogNormal:
    """ln(sigma / alpha) ~ N(mean, std²) (Karras et al. 2022, table 1: -1.2 and 1.2; Stable Video Diffusion from
    pictures: 0.7 and 1.6).

    Takes the schedule's geometry and shift, not its timing: a shift adds ln(ratio) to the mean, so that training sees
    what a sampler of the same schedule goes through (Hoogeboom et al. 2023, section 3.1; Stable Video Diffusion raises
    the mean likewise for larger pictures).
    """

    mean: float = -1.2
    std: float = 1.2

    def level(self, uniform: torch.Tensor, schedule: Schedule) -> NoiseLevel:
        """See `LevelSampler.level`: sigma / alpha = shift exp(mean + std q), q the standard normal's quantile at
        `uniform`.
        """
        ratio = (self.mean + self.std * _normal_quantile(uniform)).exp() * schedule.shift
        return schedule.geometry.level(torch.ones_like(ratio), ratio)


def bin_centres(bins: int) -> torch.Tensor:
    """float64 [bins]: uniform numbers in the middle of equal strata, for a validation loss at fixed levels."""
    return (torch.arange(bins, dtype=torch.float64) + 0.5) / bins


def _normal_quantile(uniform: torch.Tensor) -> torch.Tensor:
    """Finite for every number in [0, 1]."""
    return torch.special.ndtri(uniform.to(torch.float64).clamp(2.0**-54, 1 - 2.0**-53))
