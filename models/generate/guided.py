"""From a network to the estimate that a sampler follows: every kind of guidance that `sample.*` asks for."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.contract import Autoencoder
from clipmill.models.autoencoders.pixels import Pixels
from clipmill.models.conditioning.conditioner import joined
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.config import SampleConfig
from clipmill.models.core.denoiser import Denoiser, branches_in_one_call, denoiser
from clipmill.models.core.guidance import (
    Weight,
    WeightAt,
    classifier_free,
    dynamic_threshold,
    motion_free,
    oscillating,
    per_frame_linear,
)
from clipmill.models.core.noise import StepNoise
from clipmill.models.core.noise_level import NoiseLevel
from clipmill.models.core.parametrisation import Estimate, estimate_of_x0
from clipmill.models.core.reconstruction import reconstruction_guidance, replacement
from clipmill.models.generate.told import is_told, told_guidance
from clipmill.models.generate.watching import Watching
from clipmill.models.network import Diffusion, Network
from clipmill.models.pixels import as_floats, restored, standardised


@dataclass(frozen=True)
class Known:
    """latents: float [B, t, C, h, w], standardised, anything where unknown. mask: bool [t], which frames are known.
    small: what is known of all of it, besides.
    """

    latents: torch.Tensor
    mask: torch.Tensor
    small: "Small | None" = None

    def observed(self) -> torch.Tensor:
        """float [B, n]: all that is known."""
        of_all = [] if self.small is None else [self.small.video]
        return torch.cat([part.flatten(1) for part in [self.latents[:, self._where()], *of_all]], dim=1)

    def observe(self, x0: torch.Tensor) -> torch.Tensor:
        """The same of an estimate [B, t, C, h, w], differentiable."""
        of_all = [] if self.small is None else [self.small.of(x0)]
        return torch.cat([part.flatten(1) for part in [x0[:, self._where()], *of_all]], dim=1)

    def _where(self) -> torch.Tensor:
        return self.mask.to(self.latents.device)

    def put_into(self, z: torch.Tensor) -> torch.Tensor:
        """z float [B, t, C, h, w] with the known frames in the place of its own, bit by bit."""
        return torch.where(self.mask[:, None, None, None].to(z.device), self.latents.to(z), z)


@dataclass(frozen=True)
class Small:
    """What a video is to be at `space` times fewer px per side (Ho et al. 2022, Video Diffusion Models, section 3.1).
    video: float [B, T, 3, h, w], in standard deviations of the latents from their middle, so that an error counts here
    what it counts in them.
    """

    video: torch.Tensor
    space: int
    autoencoder: Autoencoder

    @classmethod
    def of_bytes(cls, video: torch.Tensor, space: int, autoencoder: Autoencoder) -> "Small":
        """video: uint8 [B, T, 3, h, w]."""
        return cls(as_floats(video) / _spread(autoencoder), space, autoencoder)

    def of(self, x0: torch.Tensor) -> torch.Tensor:
        """The same of an estimate, float [B, t, C, h, w]: means of squares, as training videos are shrunk."""
        video = self.autoencoder.decode(restored(x0, self.autoencoder)) / _spread(self.autoencoder)
        return F.avg_pool2d(video.flatten(0, 1), self.space).unflatten(0, video.shape[:2])


def _spread(autoencoder: Autoencoder) -> torch.Tensor:
    """float []: of the latents, and so of pixels, whose sums of squares their blocks and components keep."""
    return autoencoder.latent_std.square().mean().sqrt()


def guided(
    network: Network | Watching,
    diffusion: Diffusion,
    conditions: Conditions,
    config: SampleConfig,
    levels: NoiseLevel,
    frames: int,
) -> Denoiser:
    """Classifier-free guidance, the same for all frames and steps, or growing over the frames, or oscillating over the
    steps; motion-free guidance beside it. levels: the sampler's stations. frames: of the latents.
    """
    parametrisation = diffusion.parametrisation
    plain = config.guidance == 1 and config.guidance_last is None and config.guidance_low in (None, 1)
    if is_told(network):
        return told_guidance(network, parametrisation, conditions, config, _weight(config, levels, frames))
    if plain and config.motion_guidance == 1:
        return denoiser(network, parametrisation, conditions)
    unconditional = conditions
    if not plain or network.conditioner.config.parts:
        unconditional = network.conditioner.unconditional(conditions)
    if config.motion_guidance != 1:
        three = joined(conditions, unconditional, network.conditioner.still(unconditional, frames))
        branches = branches_in_one_call(network, parametrisation, three, 3)
        combined = motion_free(branches, _weight(config, levels, frames), config.motion_guidance)
        return _with_given(combined, network, conditions)
    both = joined(conditions, unconditional)
    branches = branches_in_one_call(network, parametrisation, both, 2)
    combined = classifier_free(branches, _weight(config, levels, frames), config.rescale)
    return _with_given(combined, network, conditions)


def _with_given(denoise: Denoiser, network: Network | Watching, conditions: Conditions) -> Denoiser:
    """Of given frames that are not predicted, the estimate is what was given: a branch that is not given them sees them
    in z, at its level of noise.
    """
    conditioner = network.conditioner
    if conditioner.frame_weights(conditions) is None:
        return denoise
    return lambda z, level: estimate_of_x0(conditioner.seen(denoise(z, level).x0, conditions), z, level)


def _weight(config: SampleConfig, levels: NoiseLevel, frames: int) -> Weight | WeightAt:
    if config.guidance_low is not None:
        return oscillating(levels, config.guidance, config.guidance_low, config.guidance_constant_steps)
    last = config.guidance if config.guidance_last is None else config.guidance_last
    return config.guidance if last == config.guidance else per_frame_linear(config.guidance, last, frames)


def told_what_is_known(
    denoise: Denoiser, known: Known, config: SampleConfig, levels: NoiseLevel, noise: StepNoise
) -> Denoiser:
    """For a model that was not trained to be given frames: `sample.known`. levels: the sampler's stations; noise: fresh
    for each of its steps.
    """
    mask = known.mask.to(known.latents.device)
    if config.known == "guidance":
        denoise = reconstruction_guidance(denoise, known.observed(), known.observe, config.reconstruction)
    return replacement(denoise, known.latents, mask[:, None, None, None], noise, levels)


def check_threshold(config: SampleConfig, autoencoder: Autoencoder) -> None:
    """Raises UserError where there are no pixels to clip."""
    pixels = isinstance(autoencoder, Pixels) and autoencoder.config.components is None
    if config.dynamic_threshold and not pixels:
        raise UserError(
            "sample.dynamic_threshold clips pixels, and this model predicts latents: set sample.rescale instead, or"
            " sample.dynamic_threshold=0"
        )


def thresholded(denoise: Denoiser, quantile: float, autoencoder: Autoencoder) -> Denoiser:
    """`dynamic_threshold` of the pixels that are standardised in x0."""

    def pixels(z: torch.Tensor, level: NoiseLevel) -> Estimate:
        estimate = denoise(z, level)
        return Estimate(restored(estimate.x0, autoencoder), estimate.eps)

    clipped = dynamic_threshold(pixels, quantile)
    return lambda z, level: estimate_of_x0(standardised(clipped(z, level).x0, autoencoder), z, level)
