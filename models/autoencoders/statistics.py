"""How the latents of training videos are distributed, so that a diffusion model sees mean 0 and standard deviation
1.
"""

from collections.abc import Iterable

import torch

from clipmill.models.autoencoders.base import VideoAutoencoder
from clipmill.models.autoencoders.moments import RunningMoments

# Channels that vary less than this share of the most varied one are left as they are: standardising would only enlarge
# rounding.
_DEAD = 1e-4


@torch.no_grad()
def measure_latents(autoencoder: VideoAutoencoder, videos: Iterable[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean, standard deviation), float64 [C] each, of sampled latents over all positions and frames of all videos,
    without sampling: the variance of the means plus the mean of the variances.

    videos: float [B, T, 3, H, W] in [-1, 1] each, of any sizes. Raises UserError where there is none.
    """
    means, variances = RunningMoments(autoencoder.latent_channels), RunningMoments(autoencoder.latent_channels)
    device = autoencoder.latent_mean.device
    for video in videos:
        posterior = autoencoder.encode(video.to(device))
        means.add(posterior.mean)
        variances.add(posterior.std.double().square())
    return means.mean, (means.covariance.diagonal() + variances.mean).sqrt()


def fill_latent_statistics(autoencoder: VideoAutoencoder, videos: Iterable[torch.Tensor]) -> None:
    """Measures, and sets latent_mean and latent_std: standard deviations to the power of `autoencoder.scale`, times one
    number, so that the mean variance of what the diffusion model sees is 1; 1 for channels that hardly vary.
    """
    mean, std = measure_latents(autoencoder, videos)
    alive = std > _DEAD * std.max()
    divisor = std**autoencoder.scale
    divisor = divisor * (std / divisor)[alive].square().mean().sqrt()
    autoencoder.latent_mean.copy_(mean)
    autoencoder.latent_std.copy_(torch.where(alive, divisor, torch.ones_like(std)))
