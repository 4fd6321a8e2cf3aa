"""The variance of a step back, learned beside the prediction (Nichol and Dhariwal 2021, Improved DDPM, 2102.09672)."""

import math

import torch

from clipmill.models.core.geometry import Geometry
from clipmill.models.core.noise_level import NoiseLevel, over
from clipmill.models.core.schedules import Schedule, step_of_time

# Steps for which the bound has weight one beside the squared error: theirs is 0.001 times the sum over 1000 steps.
_STEPS = 1000


def halves(output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """float [B, T, 2 C, H, W] of a network -> its prediction, and gamma of `ancestral` for each number, float32: 0
    where it says -1, the posterior's variance, 1 where it says 1, the forward chain's (equation 15).
    """
    prediction, said = output.chunk(2, dim=2)
    return prediction, (said.float() + 1) / 2


def level_before(level: NoiseLevel, schedule: Schedule, steps: int) -> NoiseLevel:
    """The next quieter one of a chain of `steps`, of the schedule's geometry; exactly clean below the first."""
    return schedule.level(step_of_time(schedule.time_of(level), steps).to(torch.float64) / steps)


def variance_bound(
    gamma: torch.Tensor, error: torch.Tensor, now: NoiseLevel, then: NoiseLevel, most: torch.Tensor | float = math.inf
) -> torch.Tensor:
    """float32 like gamma [B, T, C, H, W]: KL(q(z_then | z_now, x0) || p(z_then | z_now)) in bits, where p has the
    variance of `gamma` and the mean of an estimate of x0 that is off by `error`; that mean gets no gradient (section
    3.4). Zero for the step to clean data, which adds no noise. now, then: one level per sample. most: what a squared
    error of x0 counts at most, [B] or for all: near clean data that grows without bound.
    """
    now, then = (Geometry.PRESERVING.level(level.alpha, level.sigma) for level in (now, then))
    last = then.sigma == 0
    sigma = torch.where(last, now.sigma, then.sigma)
    kept = (now.alpha * sigma / (now.sigma * then.alpha)).square()
    # Logarithm of p's variance over q's, and the means' squared distance in variances of q.
    wider = gamma * over(2 * (now.sigma / sigma).log(), gamma)
    counts = ((1 - kept) * (then.alpha / sigma).square()).clamp_max(torch.as_tensor(most, dtype=torch.float64))
    apart = error.detach().float().square() * over(counts, error)
    nats = (wider + (1 + apart) * (-wider).exp() - 1) / 2
    return torch.where(over(last.float(), nats) > 0, 0.0, nats / math.log(2))


def bound_weight(steps: int) -> float:
    """What one step's bound counts beside the squared error (equation 16, and their rescaling for other chains)."""
    return steps / _STEPS
