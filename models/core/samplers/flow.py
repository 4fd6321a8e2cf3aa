"""Sampling along the straight path z = (1 - t) x0 + t eps, whose velocity is eps - x0 (Liu et al. 2023, rectified
flow).
"""

import torch

from clipmill.curate.errors import UserError
from clipmill.models.core.denoiser import Denoiser
from clipmill.models.core.noise_level import NoiseLevel
from clipmill.models.core.sampling_levels import steps_of


@torch.no_grad()
def flow_euler(denoise: Denoiser, z: torch.Tensor, levels: NoiseLevel) -> torch.Tensor:
    """z at levels[0] -> z at levels[-1], float like z [B, T, C, H, W]; first order, one call per step.

    levels: [N + 1], alpha + sigma = 1 (else UserError), so that t = sigma; may also rise, from data to noise.
    """
    _check(levels)
    for _, now, then in steps_of(levels):
        z = z + (then.sigma - now.sigma) * _velocity(denoise, z, now)
    return z


@torch.no_grad()
def flow_heun(denoise: Denoiser, z: torch.Tensor, levels: NoiseLevel) -> torch.Tensor:
    """As `flow_euler`, with the mean of the velocities at both ends of a step; second order. A step to clean data asks
    only at its start, since not every parametrisation says there what the noise was: 2 N - 1 calls.
    """
    _check(levels)
    for _, now, then in steps_of(levels):
        velocity = _velocity(denoise, z, now)
        if float(then.sigma) > 0:
            reached = z + (then.sigma - now.sigma) * velocity
            velocity = (velocity + _velocity(denoise, reached, then)) / 2
        z = z + (then.sigma - now.sigma) * velocity
    return z


def _velocity(denoise: Denoiser, z: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
    estimate = denoise(z, level)
    return estimate.eps - estimate.x0


def _check(levels: NoiseLevel) -> None:
    if float((levels.alpha + levels.sigma - 1).abs().max()) > 1e-6:
        raise UserError(
            "flow samplers take levels with alpha + sigma = 1 (other models can be converted to that geometry)"
        )
