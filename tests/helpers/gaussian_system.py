"""A whole system whose network is right by mathematics: videos whose frames are jointly Gaussian, every pixel on its
own, given frames or not.
"""

from dataclasses import replace

import torch
from torch import nn

from clipmill.models.autoencoders.pixels import Pixels, PixelsConfig
from clipmill.models.conditioning.conditioner import Conditioner
from clipmill.models.conditioning.config import ConditioningConfig, FramesConfig
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.conditioning.text.config import TextConfig
from clipmill.models.config import SampleConfig, load
from clipmill.models.generate.prompts import Prompt
from clipmill.models.generate.sampling import Generator
from clipmill.models.network import Diffusion

# Pixels are a quarter of the latents: hardly one in ten thousand is clipped.
PIXEL_STD = 0.25


def markov(frames: int, rho: float) -> torch.Tensor:
    """float64 [T, T], rho^|i - j|: of what is to come, the last frame says all."""
    places = torch.arange(frames, dtype=torch.float64)
    return rho ** (places[:, None] - places).abs()


class GaussianVideos(nn.Module):
    """As `Network`: x0 = E[x | z, given frames], for frames of covariance float64 [T, T] and a mask of given ones that
    is the same in the whole batch.
    """

    knows_images = False

    def __init__(self, covariance: torch.Tensor, frames: FramesConfig, latent_channels: int) -> None:
        super().__init__()
        self.covariance = covariance
        self.conditioner = Conditioner(ConditioningConfig(frames=frames), latent_channels)

    def forward(self, z, noise_level, conditions):
        angle = noise_level.double()[:, None] * torch.pi / 2
        alpha, sigma = angle.cos(), angle.sin()
        known, values = self._given(z, conditions)
        free, frames = [i for i in range(z.shape[1]) if i not in known], self.covariance
        x0 = z.double().clone()
        prior = torch.zeros_like(x0[:, free])
        spread = frames[free][:, free]
        if known:
            carried = frames[free][:, known] @ torch.linalg.inv(frames[known][:, known])
            prior = torch.einsum("uk,bkchw->buchw", carried, values)
            spread = spread - carried @ frames[known][:, free]
            x0[:, known] = values
        noisy = alpha[0] ** 2 * spread + sigma[0] ** 2 * torch.eye(len(free))
        gain = alpha[0] * spread @ torch.linalg.inv(noisy)
        x0[:, free] = prior + torch.einsum("ij,bjchw->bichw", gain, z[:, free].double() - alpha[0] * prior)
        return x0.to(z.dtype)

    def _given(self, z, conditions):
        if conditions.frames is None:
            return [], None
        known = [i for i in range(z.shape[1]) if bool(conditions.frames[0, i, -1].any())]
        return known, conditions.frames[:, known, : z.shape[2]].double()


def gaussian_generator(
    covariance: torch.Tensor, given: str = "masks", time_factor: int = 1, **sample: object
) -> Generator:
    """float64 [t, t] of latents -> a generator of videos of 2x2 px. time_factor: frames of a latent, each with a series
    of its own. sample: settings, over 40 steps of DDIM.
    """
    autoencoder = Pixels(PixelsConfig(space_factor=1, time_factor=time_factor))
    autoencoder.latent_std.fill_(PIXEL_STD)
    frames = FramesConfig(given=given, context_frames=len(covariance), interpolation=0.2, random=0.2)
    network = GaussianVideos(covariance, frames, autoencoder.latent_channels)
    config = replace(SampleConfig(), **({"steps": 40, "batch": 4096} | sample))
    diffusion = Diffusion(load("demo-nano", ["diffusion.shift=1.0"]))
    return Generator(network, autoencoder, diffusion, config, torch.device("cpu"))


class Captioned(torch.nn.Module):
    """As `Network`: numbers N(mean, 1) on their own, of a mean that the caption says."""

    knows_images = False

    def __init__(self, latent_channels: int) -> None:
        super().__init__()
        text = TextConfig(encoder="hash", tokens=2, dim=4)
        self.conditioner = Conditioner(ConditioningConfig(text=text), latent_channels)

    def mean_of(self, caption: str) -> float:
        return float(self._means(self.conditioner.conditions([caption], {}, [None])))

    def _means(self, conditions: Conditions) -> torch.Tensor:
        return conditions.tokens.mean(dim=(1, 2))[:, None, None, None, None]

    def forward(self, z, noise_level, conditions):
        alpha = (noise_level.double() * torch.pi / 2).cos().reshape(-1, 1, 1, 1, 1)
        mean = self._means(conditions).double()
        return (mean + alpha * (z.double() - alpha * mean)).to(z.dtype)


def captioned_generator(**sample: object) -> Generator:
    """Of videos of 2x2 px whose caption says their mean. sample: settings."""
    usual = gaussian_generator(markov(4, 0.0), **sample)
    return replace(usual, network=Captioned(usual.autoencoder.latent_channels))


def prompts(count: int, **ends: torch.Tensor) -> list[Prompt]:
    """Of a model without conditions. ends: first, last, uint8 [3, H, W], the same for all."""
    return [Prompt(index, "", None, {}, **ends) for index in range(count)]


def correlations(videos: torch.Tensor) -> torch.Tensor:
    """uint8 [B, T, 3, H, W] -> float64 [T, T], second moments of the latents."""
    values = (videos.double() / 127.5 - 1).transpose(0, 1).flatten(1) / PIXEL_STD
    return values @ values.T / values.shape[1]
