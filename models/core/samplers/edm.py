"""The samplers of Karras et al. 2022 (EDM), algorithms 1 and 2, with alpha = 1."""

import math
from dataclasses import dataclass

import torch

from clipmill.curate.errors import UserError
from clipmill.models.core.denoiser import Denoiser
from clipmill.models.core.geometry import Geometry
from clipmill.models.core.noise import StepNoise
from clipmill.models.core.noise_level import NoiseLevel
from clipmill.models.core.sampling_levels import steps_of


@dataclass(frozen=True)
class Churn:
    """Noise put in before each step, in their letters S_churn, S_tmin, S_tmax, S_noise; at amount 0 sampling is
    deterministic.
    """

    amount: float = 0.0
    sigma_min: float = 0.0
    sigma_max: float = math.inf
    noise_std: float = 1.0

    def factor(self, sigma: float, steps: int) -> float:
        """By how much sigma is raised: 1 + gamma."""
        inside = self.sigma_min <= sigma <= self.sigma_max
        return 1 + min(self.amount / steps, math.sqrt(2) - 1) if inside else 1.0


@torch.no_grad()
def edm_euler(
    denoise: Denoiser, z: torch.Tensor, levels: NoiseLevel, churn: Churn | None = None, noise: StepNoise | None = None
) -> torch.Tensor:
    """z at levels[0] -> z at levels[-1], float like z [B, T, C, H, W], by dz / dsigma = eps; first order, one call per
    step.

    levels: [N + 1], alpha = 1 (else UserError: see `in_geometry`). noise(step): standard normal like z, asked for only
    where there is churn.
    """
    _check(levels)
    for step, now, then in steps_of(levels):
        z, now = _churned(z, now, churn, noise, step, len(levels) - 1)
        z = z + (then.sigma - now.sigma) * denoise(z, now).eps
    return z


@torch.no_grad()
def edm_heun(
    denoise: Denoiser, z: torch.Tensor, levels: NoiseLevel, churn: Churn | None = None, noise: StepNoise | None = None
) -> torch.Tensor:
    """As `edm_euler`, with the mean of the slopes at both ends of a step, except for the step to sigma = 0: second
    order, 2 N - 1 calls.
    """
    _check(levels)
    for step, now, then in steps_of(levels):
        z, now = _churned(z, now, churn, noise, step, len(levels) - 1)
        slope = denoise(z, now).eps
        reached = z + (then.sigma - now.sigma) * slope
        if float(then.sigma) > 0:
            reached = z + (then.sigma - now.sigma) * (slope + denoise(reached, then).eps) / 2
        z = reached
    return z


def _churned(
    z: torch.Tensor, now: NoiseLevel, churn: Churn | None, noise: StepNoise | None, step: int, steps: int
) -> tuple[torch.Tensor, NoiseLevel]:
    """z with noise added, at the level to which that brings it."""
    factor = churn.factor(float(now.sigma), steps) if churn else 1.0
    if churn is None or factor == 1.0:
        return z, now
    if noise is None:
        raise UserError("churn needs a source of noise")
    raised = Geometry.EXPLODING.level(now.alpha, now.sigma * factor)
    added = (raised.sigma.square() - now.sigma.square()).sqrt() * churn.noise_std
    return z + added * noise(step).to(z), raised


def _check(levels: NoiseLevel) -> None:
    if not bool((levels.alpha == 1).all()):
        raise UserError("the EDM samplers take levels with alpha = 1 (other models can be converted to that geometry)")
