"""Sampling with a part of the video given, by a model that was trained without: the replacement method and
reconstruction guidance.
"""

from collections.abc import Callable

import torch

from clipmill.models.core.denoiser import Denoiser
from clipmill.models.core.noise import StepNoise
from clipmill.models.core.noise_level import NoiseLevel, noised, over
from clipmill.models.core.parametrisation import Estimate, estimate_of_x0
from clipmill.models.core.sampling_levels import step_at

# x0 [B, T, C, H, W] -> what is known of it, any shape [B, ...]; differentiable.
Observe = Callable[[torch.Tensor], torch.Tensor]


def replacement(
    denoise: Denoiser, known: torch.Tensor, is_known: torch.Tensor, noise: StepNoise, levels: NoiseLevel
) -> Denoiser:
    """The known part of z is drawn afresh from q(z | known) before each estimate (Song et al. 2021, appendix I.2; the
    baseline in Ho et al. 2022, Video Diffusion Models, section 3.1). The rest hardly learns of it: the model's view of
    the unknown part is never told to agree.

    known: float like z, [B, T, C, H, W], anything where unknown. is_known: bool, broadcasts against z. noise(step):
    standard normal like z.
    levels: the sampler's stations.
    """

    def replaced(z: torch.Tensor, level: NoiseLevel) -> Estimate:
        fresh = noised(known.to(z), noise(step_at(levels, level)).to(z), level)
        z_replaced = torch.where(is_known, fresh, z)
        x0 = torch.where(is_known, known.to(z), denoise(z_replaced, level).x0)
        return estimate_of_x0(x0, z, level)

    return replaced


def reconstruction_guidance(
    denoise: Denoiser, observed: torch.Tensor, observe: Observe, weight: float = 2.0
) -> Denoiser:
    """x0 - (weight alpha / 2) grad_z |observed - observe(x0(z))|² (Ho et al. 2022, Video Diffusion Models, equations 7
    and 8).

    observed: float [B, ...], what `observe` gives of the true x0: some frames, or a smaller video. Around it,
    `replacement` keeps known frames at the right noise, as in their equation 7. Costs a backward pass through the
    network per estimate. weight: 0 is no guidance; over about 2 the condition counts for more than it should.
    Differentiates even where gradients are off.
    """

    def guided(z: torch.Tensor, level: NoiseLevel) -> Estimate:
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            x0 = denoise(leaf, level).x0
            (slope,) = torch.autograd.grad((observed.to(z) - observe(x0)).square().sum(), leaf)
        return estimate_of_x0(x0.detach() - over(level.alpha * weight / 2, z) * slope, z, level)

    return guided
