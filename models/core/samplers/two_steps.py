"""What a sampler with steps twice as long must believe to arrive where two steps do: progressive distillation."""

import torch

from clipmill.models.core.denoiser import Denoiser
from clipmill.models.core.noise_level import NoiseLevel, noised, over
from clipmill.models.core.parametrisation import Estimate, estimate_of_x0


def two_steps(denoise: Denoiser, z: torch.Tensor, now: NoiseLevel, middle: NoiseLevel, then: NoiseLevel) -> Estimate:
    """The estimate by which one step of DDIM (or Euler, in other geometries) from `now` to `then` ends where two steps
    of `denoise`, by way of `middle`, do (Salimans and Ho 2022, 2202.00512, algorithm 2 and appendix G).

    z: float [B, T, C, H, W] at `now`; levels of one geometry, [] or [B] each, with noise at `now` and `middle`; `then`
    may be clean.
    """
    halfway = noised(*denoise(z, now), middle)
    arrived = noised(*denoise(halfway, middle), then)
    share = then.sigma / now.sigma
    x0 = (arrived - over(share, z) * z) / over(then.alpha - share * now.alpha, z)
    return estimate_of_x0(x0, z, now)
