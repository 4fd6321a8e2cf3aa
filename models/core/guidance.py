"""Guidance: several estimates of one z made into one."""

import math
from collections.abc import Callable

import torch

from clipmill.curate.errors import UserError
from clipmill.models.core.denoiser import Branches, Denoiser
from clipmill.models.core.noise_level import NoiseLevel
from clipmill.models.core.parametrisation import Estimate, estimate_of_x0
from clipmill.models.core.sampling_levels import step_at

# A number, a tensor that broadcasts against z [B, T, C, H, W], or either as a function of the noise level.
Weight = float | torch.Tensor
WeightAt = Callable[[NoiseLevel], Weight]


def classifier_free(branches: Branches, weight: Weight | WeightAt, rescale: float = 0.0) -> Denoiser:
    """unconditional + weight (conditional - unconditional) (Ho and Salimans 2022, whose w is weight - 1; Imagen's w is
    weight).

    branches: conditional first, then unconditional. weight: 1 is the conditional model, 0 the unconditional one.
    Estimates are linear in the prediction, so it is the same in eps, x0 and v. rescale: share in 0 ... 1 of the result
    that has the standard deviation of the conditional x0, per sample (Lin et al. 2024, arXiv 2305.08891, equations 15
    and 16, applied to x0).
    """
    if not 0 <= rescale <= 1:
        raise UserError(f"rescaling of guidance is a share from 0 to 1, not {rescale}")

    def denoise(z: torch.Tensor, level: NoiseLevel) -> Estimate:
        conditional, unconditional = branches(z, level)
        w = weight(level) if callable(weight) else weight
        w = w.to(z) if isinstance(w, torch.Tensor) else w
        guided = Estimate(*(u + w * (c - u) for c, u in zip(conditional, unconditional, strict=True)))
        return _rescaled(guided, conditional, z, level, rescale) if rescale > 0 else guided

    return denoise


def motion_free(branches: Branches, weight: Weight | WeightAt, motion_weight: float) -> Denoiser:
    """still + motion_weight (unconditional - still) + weight (conditional - unconditional) (GenTron, 2312.04557,
    section 3.4), where still is the unconditional model with every frame an image of its own.

    branches: conditional, unconditional, still. With motion_weight 1 it is `classifier_free`.
    """

    def denoise(z: torch.Tensor, level: NoiseLevel) -> Estimate:
        conditional, unconditional, still = branches(z, level)
        two = classifier_free(lambda *_: (conditional, unconditional), weight)(z, level)
        moved = zip(two, unconditional, still, strict=True)
        return Estimate(*(g + (motion_weight - 1) * (u - s) for g, u, s in moved))

    return denoise


def per_frame_linear(first: float, last: float, frames: int) -> torch.Tensor:
    """Weights float32 [1, T, 1, 1, 1] that go evenly from `first` to `last` over the frames (Stable Video Diffusion: 1
    to 2.5, given the first frame).
    """
    return torch.linspace(first, last, frames).reshape(1, frames, 1, 1, 1)


def oscillating(levels: NoiseLevel, high: float = 15.0, low: float = 1.0, constant_steps: int = 0) -> WeightAt:
    """`high` for `constant_steps` steps, then high and low by turns, beginning with high (Ho et al. 2022, Imagen
    Video).

    levels: the sampler's stations. A level between two stations belongs to the step that starts above it.
    """

    def weight(level: NoiseLevel) -> float:
        step = step_at(levels, level)
        return high if step < constant_steps or (step - constant_steps) % 2 == 0 else low

    return weight


def dynamic_threshold(denoise: Denoiser, quantile: float = 0.995, limit: float = 1.0) -> Denoiser:
    """x0 clipped per sample to ±s and divided by s / limit, where s is the quantile of |x0|, at least `limit` (Saharia
    et al. 2022, Imagen, section 2.3): whatever guidance did, x0 stays in ±limit. For pixels in [-1, 1], not for
    latents. With quantile 1 nothing is clipped, only scaled.
    """
    if not 0 < quantile <= 1:
        raise UserError(f"a quantile lies over 0 and up to 1, not {quantile}")

    def thresholded(z: torch.Tensor, level: NoiseLevel) -> Estimate:
        x0 = denoise(z, level).x0
        sizes = x0.abs().flatten(1)
        rank = math.ceil(quantile * sizes.shape[1])
        bound = sizes.kthvalue(rank, dim=1).values.clamp_min(limit).reshape(-1, *(1,) * (x0.ndim - 1))
        return estimate_of_x0(x0.clamp(-bound, bound) * (limit / bound), z, level)

    return thresholded


def _rescaled(guided: Estimate, conditional: Estimate, z: torch.Tensor, level: NoiseLevel, share: float) -> Estimate:
    wanted, found = (e.x0.flatten(1).std(dim=1).reshape(-1, *(1,) * (z.ndim - 1)) for e in (conditional, guided))
    return estimate_of_x0(guided.x0 * (share * wanted / found + 1 - share), z, level)
