"""A model that has learned its guidance: it is told the weight, in one call, where others need two."""

import torch

from clipmill.curate.errors import UserError
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.conditioning.micro import with_number
from clipmill.models.config import SampleConfig
from clipmill.models.core.denoiser import Denoiser, denoiser
from clipmill.models.core.guidance import Weight, WeightAt
from clipmill.models.core.noise_level import NoiseLevel
from clipmill.models.core.parametrisation import Estimate, Parametrisation
from clipmill.models.generate.watching import Watching
from clipmill.models.network import Network
from clipmill.models.settings.distil import TOLD


def is_told(network: Network | Watching) -> bool:
    """Whether a model was distilled with several weights of guidance."""
    return TOLD in network.conditioner.config.micro.columns


def told_guidance(
    network: Network | Watching,
    parametrisation: Parametrisation,
    conditions: Conditions,
    config: SampleConfig,
    weight: Weight | WeightAt,
) -> Denoiser:
    """weight: the same for all frames. Raises UserError for guidance that such a model cannot have."""
    if config.guidance_last is not None or config.rescale or config.motion_guidance != 1:
        raise UserError(
            "this model is told one weight of guidance: leave sample.guidance_last, rescale and motion_guidance out"
        )

    def denoise(z: torch.Tensor, level: NoiseLevel) -> Estimate:
        value = weight(level) if callable(weight) else weight
        told = with_number(network.conditioner.config.micro, conditions, TOLD, value)
        return denoiser(network, parametrisation, told)(z, level)

    return denoise
