"""The autoencoder of a training as one file that diffusion presets take: averaged weights, and the scale of its latents
measured.
"""

from collections.abc import Iterable
from pathlib import Path

import torch

from clipmill.models.autoencoder_for import first_autoencoder
from clipmill.models.autoencoders.saving import save_autoencoder
from clipmill.models.autoencoders.statistics import fill_latent_statistics
from clipmill.models.checkpoints.tensors import put_all
from clipmill.models.config import ModelConfig

_PREFIX = "both.autoencoder."


def export_autoencoder(
    path: Path,
    config: ModelConfig,
    average: dict[str, torch.Tensor],
    last: dict[str, torch.Tensor],
    step: int,
    videos: Iterable[torch.Tensor],
) -> None:
    """average, last: whole tensors of the objective's trained parameters; what was frozen is as it began. videos: float
    [1, T, 3, H, W] in [-1, 1], to measure the latents on.
    """
    autoencoder = first_autoencoder(config)
    found = {
        name.removeprefix(_PREFIX): tensor for name, tensor in (last | average).items() if name.startswith(_PREFIX)
    }
    targets = {name: parameter.detach() for name, parameter in autoencoder.named_parameters() if name in found}
    put_all(targets, found, "the trained autoencoder")
    fill_latent_statistics(autoencoder.eval(), videos)
    save_autoencoder(path, autoencoder, {"preset": config.name, "step": step})
