"""DDIM as a rotation: deterministic sampling and its inversion."""

import torch

from clipmill.curate.errors import UserError
from clipmill.models.core.denoiser import Denoiser
from clipmill.models.core.noise_level import NoiseLevel
from clipmill.models.core.parametrisation import Estimate
from clipmill.models.core.sampling_levels import steps_of


@torch.no_grad()
def ddim(denoise: Denoiser, z: torch.Tensor, levels: NoiseLevel) -> torch.Tensor:
    """z at levels[0] -> z at levels[-1] (x0, if that is clean), float like z [B, T, C, H, W].

    Song et al. 2021 in the angle (Salimans and Ho 2022, appendix D): z_s = cos(phi_s - phi_t) z_t + sin(phi_s - phi_t)
    v. Exact in any number of steps where the estimate is right, first order otherwise. levels: [N + 1], alpha² + sigma²
    = 1, else UserError; may also rise.
    """
    _check(levels)
    for _, now, then in steps_of(levels):
        turn = then.angle - now.angle
        z = turn.cos() * z + turn.sin() * _velocity(denoise(z, now), now)
    return z


@torch.no_grad()
def ddim_inversion(denoise: Denoiser, x0: torch.Tensor, levels: NoiseLevel, iterations: int = 1) -> torch.Tensor:
    """x0 (or z at levels[-1]) -> the z at levels[0] from which `ddim` over the same levels comes back.

    Each step solves z_s = cos(phi_s - phi_t) z_t + sin(phi_s - phi_t) v(z_t, t) for z_t by fixed point, from z_t = z_s:
    one iteration is the usual inversion (error O(1 / N) over the round trip), and each further one costs a call per
    step and gains an order. The network is never asked at the clean end. Raises UserError for a single step over the
    whole quarter turn, which cannot be turned back.
    """
    _check(levels)
    z = x0
    for _, noisier, quieter in reversed(list(steps_of(levels))):
        turn = quieter.angle - noisier.angle
        if float(turn.cos()) < 1e-6:
            raise UserError("inversion takes two steps or more between clean data and pure noise")
        reached = z
        for _ in range(iterations):
            z = (reached - turn.sin() * _velocity(denoise(z, noisier), noisier)) / turn.cos()
    return z


def _velocity(estimate: Estimate, level: NoiseLevel) -> torch.Tensor:
    """v = dz / dphi."""
    return level.alpha * estimate.eps - level.sigma * estimate.x0


def _check(levels: NoiseLevel) -> None:
    if float((levels.length - 1).abs().max()) > 1e-6:
        raise UserError(
            "DDIM turns on the unit circle: alpha² + sigma² must be 1 (other geometries have samplers of their own)"
        )
