"""From captions to embeddings of pictures: what a model of `conditioning.reference` shows where no picture is given
(Make-A-Video, 2209.14792, section 3.1; Ramesh et al. 2022, 2204.06125, section 2.2).
"""

from collections.abc import Sequence

import torch

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.contract import Autoencoder
from clipmill.models.autoencoders.embedding import PictureEmbedding
from clipmill.models.conditioning.config import ReferenceConfig
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.prompts import Prompt
from clipmill.models.generate.sampling import Generator
from clipmill.models.pixels import restored


def imagined(prior: Generator, wanted: Sequence[Prompt]) -> torch.Tensor:
    """float32 [B, D] on the prior's device: an embedding for each caption, the same for a video of the same seed and
    number.
    """
    noise = SampleNoise(wanted[0].seed, [prompt.index for prompt in wanted], "prior, ")
    made = prior.network.conditioner.conditions([prompt.caption for prompt in wanted], {}, [None] * len(wanted))
    z = prior.latents((1, 1, 1), made.map(lambda tensor: tensor.to(prior.device)), noise)
    return restored(z, prior.autoencoder)[:, 0, :, 0, 0]


def check_prior(name: str, autoencoder: Autoencoder, reference: ReferenceConfig) -> None:
    """autoencoder: of the prior `name`. Raises UserError where it does not make what the model reads."""
    if reference.encoder == "none":
        raise UserError("this model is not conditioned on a reference picture: leave sample.prior out")
    if not isinstance(autoencoder, PictureEmbedding):
        raise UserError(
            f"sample.prior: {name} makes videos, not embeddings: train one with `models train RUN --config"
            " make-a-video-prior`"
        )
    chosen = autoencoder.config
    made, read = ((one.encoder, one.network) for one in (chosen, reference))
    if made[: 1 + (made[0] == "clip")] != read[: 1 + (made[0] == "clip")]:
        raise UserError(
            f"sample.prior: {name} makes embeddings of {' '.join(made)}, and this model reads those of"
            f" {' '.join(read)}: take one that was trained with autoencoder.options.network={reference.network}"
        )
