"""From a network to what samplers ask for: what is in z at this noise level."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from clipmill.models.core.geometry import Geometry
from clipmill.models.core.noise_level import NoiseLevel, over
from clipmill.models.core.parametrisation import Estimate, Parametrisation

# model(c_in z [B, T, C, H, W], noise_level float32 [B], conditioning) -> prediction like z.
Model = Callable[[torch.Tensor, torch.Tensor, Any], torch.Tensor]
# z float [B, T, C, H, W] and its level (one for the batch, or one per sample) -> estimate like z.
Denoiser = Callable[[torch.Tensor, NoiseLevel], Estimate]
# The same under several conditions, in a fixed order; guidance combines them.
Branches = Callable[[torch.Tensor, NoiseLevel], Sequence[Estimate]]


def denoiser(model: Model, parametrisation: Parametrisation, conditioning: Any) -> Denoiser:
    """The model under one conditioning. z and the estimate are as wide as z, whatever the model computes in."""

    def denoise(z: torch.Tensor, level: NoiseLevel) -> Estimate:
        each = level.expand(len(z))
        told = parametrisation.network_level(each).to(z.device)
        prediction = model(parametrisation.network_input(z, each), told, conditioning)
        return parametrisation.estimate(prediction.to(z.dtype), z, each)

    return denoise


def branches_in_one_call(
    model: Model, parametrisation: Parametrisation, joined_conditioning: Any, count: int
) -> Branches:
    """`count` conditions in one call of the model, with a batch `count` times as large.

    joined_conditioning: what the model takes for a batch of count * B: all samples under the first condition, then all
    under the second ...
    """
    joined = denoiser(model, parametrisation, joined_conditioning)

    def branches(z: torch.Tensor, level: NoiseLevel) -> list[Estimate]:
        each = level.expand(len(z))
        repeated = NoiseLevel(torch.cat([each.alpha] * count), torch.cat([each.sigma] * count))
        both = joined(torch.cat([z] * count), repeated)
        return [Estimate(x0, eps) for x0, eps in zip(both.x0.chunk(count), both.eps.chunk(count), strict=True)]

    return branches


def branches_one_by_one(*denoisers: Denoiser) -> Branches:
    """Several denoisers, called in turn: half the memory of `branches_in_one_call`, and models may differ."""
    return lambda z, level: [denoise(z, level) for denoise in denoisers]


def in_geometry(denoise: Denoiser, trained: Geometry) -> Denoiser:
    """Lets a sampler of any geometry use a denoiser made for another: the same noise on another scale of z, so the
    estimate is the same.
    """

    def converted(z: torch.Tensor, level: NoiseLevel) -> Estimate:
        own = trained.level(level.alpha, level.sigma)
        return denoise(z * over(own.length / level.length, z), own)

    return converted
