"""Between the uint8 of videos, the floats of autoencoders, and the standardised latents of networks."""

import torch

from clipmill.models.autoencoders.contract import Autoencoder


def as_floats(video: torch.Tensor) -> torch.Tensor:
    """uint8 [B, T, 3, H, W] -> float32 in [-1, 1]."""
    return video.float() / 127.5 - 1


def standardised(latents: torch.Tensor, autoencoder: Autoencoder) -> torch.Tensor:
    """float [B, t, C, h, w] as the autoencoder makes them -> what the diffusion model sees: mean 0, standard deviation
    1 per channel.
    """
    mean, std = (values.to(latents).reshape(-1, 1, 1) for values in (autoencoder.latent_mean, autoencoder.latent_std))
    return (latents - mean) / std


def restored(z: torch.Tensor, autoencoder: Autoencoder) -> torch.Tensor:
    """The inverse of `standardised`."""
    mean, std = (values.to(z).reshape(-1, 1, 1) for values in (autoencoder.latent_mean, autoencoder.latent_std))
    return z * std + mean
