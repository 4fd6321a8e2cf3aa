"""Ancestral sampling: a step back along the noising chain, with fresh noise."""

from collections.abc import Callable

import torch

from clipmill.models.core.denoiser import Denoiser
from clipmill.models.core.noise import StepNoise
from clipmill.models.core.noise_level import NoiseLevel
from clipmill.models.core.sampling_levels import steps_of


@torch.no_grad()
def ancestral(
    denoise: Denoiser,
    z: torch.Tensor,
    levels: NoiseLevel,
    noise: StepNoise,
    gamma: float | Callable[[], torch.Tensor] = 0.0,
) -> torch.Tensor:
    """z at levels[0] -> z at levels[-1] (x0, if that is clean), float like z [B, T, C, H, W].

    Ho et al. 2022, Video Diffusion Models, equations 3 and 4: mean e^(l_t - l_s) (alpha_s / alpha_t) z + (1 - e^(l_t -
    l_s)) alpha_s x0 with l the log-SNR, variance (1 - e^(l_t - l_s)) sigma_s^(2 - 2 gamma) sigma_t^(2 gamma). gamma: 0
    the posterior's variance for known x0, 1 the forward chain's; or what gives it for every number, asked after each
    estimate (`learned_variance`). noise(step): standard normal like z. The step to clean
    adds none. levels: [N + 1], in any geometry with falling log-SNR; alpha = 0 at the start is allowed.
    """
    for step, now, then in steps_of(levels):
        # e^(l_t - l_s), and the same times alpha_s / alpha_t without dividing by an alpha of 0.
        kept = (now.alpha * then.sigma / (now.sigma * then.alpha)).square()
        carried = now.alpha * then.sigma.square() / (now.sigma.square() * then.alpha)
        z = carried * z + (1 - kept) * then.alpha * denoise(z, now).x0
        if float(then.sigma) > 0:
            g = gamma() if callable(gamma) else gamma
            scale = (1 - kept).sqrt() * then.sigma ** (1 - g) * now.sigma**g
            z = z + scale * noise(step).to(z)
    return z
