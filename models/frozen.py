"""The autoencoder that a diffusion model is trained on, frozen: from its own checkpoint, or from the model's."""

from pathlib import Path

import torch

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.base import VideoAutoencoder
from clipmill.models.autoencoders.named import autoencoder_named
from clipmill.models.autoencoders.saving import load_autoencoder
from clipmill.models.config import AutoencoderConfig

FILE = "autoencoder.safetensors"


def autoencoder_of(config: AutoencoderConfig, device: torch.device) -> VideoAutoencoder:
    """Raises UserError where the config names none that can be used, saying how to get one."""
    if config.weights is None:
        if config.kind != "pixels":
            name = {"frame": "frame-autoencoder", "causal": "causal-autoencoder"}.get(config.kind, "frame-autoencoder")
            raise UserError(
                f"this preset works on the latents of a trained autoencoder ({config.kind}): train one with `models"
                f" train RUN --config {name} --out AE`, then add --set autoencoder.weights=AE"
            )
        return frozen(autoencoder_named(config.kind, config.options), device)
    path = weights_file(config)
    assert path is not None
    return frozen(load_autoencoder(path), device)


def weights_file(config: AutoencoderConfig) -> Path | None:
    """The file that `autoencoder.weights` means: itself, or that of a checkpoint folder."""
    if config.weights is None:
        return None
    path = Path(config.weights)
    return path / FILE if path.is_dir() else path


def checkpoint_autoencoder(root: Path) -> VideoAutoencoder:
    """The one that a checkpoint carries, on the CPU."""
    return frozen(load_autoencoder(root / FILE), torch.device("cpu"))


def frozen(autoencoder: VideoAutoencoder, device: torch.device) -> VideoAutoencoder:
    """The autoencoder itself, moved to `device`, in eval() and with parameters that take no gradient."""
    return autoencoder.to(device).eval().requires_grad_(False)
