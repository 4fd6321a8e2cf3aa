"""What autoencoders are trained on: a reconstruction that looks right, latents near a normal distribution, and a
discriminator to fool.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.func import functional_call

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.base import VideoAutoencoder
from clipmill.models.autoencoders.contract import Posterior
from clipmill.models.autoencoders.losses.discriminator import (
    PatchDiscriminator,
    adaptive_weight,
    hinge_discriminator_loss,
    hinge_generator_loss,
)
from clipmill.models.autoencoders.losses.perceptual import perceptual_named
from clipmill.models.core.noise import SampleNoise

GENERATOR, DISCRIMINATOR = "generator", "discriminator"


@dataclass(frozen=True)
class AutoencoderLossConfig:
    """reconstruction: l1 or l2, mean over values. perceptual: a name of `perceptual.NAMES`. kl_weight: of the
    divergence of the latents from a standard normal, summed over latents and divided by the number of pixel values, so
    that a weight means what it means where both are sums (Rombach et al. 2022). discriminator: none, 2d (of frames) or
    3d (of videos); it plays from step discriminator_start on, and discriminator_weight multiplies the adaptive weight
    of its verdict. decoder_only: train just the layers along time of a `frame` autoencoder with a temporal decoder. The
    defaults are those of LVDM's code (2211.13221), which has kl_weight 0.
    """

    reconstruction: Literal["l1", "l2"] = "l1"
    perceptual: str = "auto"
    perceptual_weight: float = 1.0
    kl_weight: float = 1e-6
    discriminator: Literal["none", "2d", "3d"] = "2d"
    discriminator_width: int = 64
    discriminator_layers: int = 3
    discriminator_start: int = 50_001
    discriminator_weight: float = 0.5
    decoder_only: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError, one line, for a value that cannot work."""
        if min(self.perceptual_weight, self.kl_weight, self.discriminator_weight, self.discriminator_start) < 0:
            raise ValueError("weights and discriminator_start are 0 or more")
        if min(self.discriminator_width, self.discriminator_layers) < 1:
            raise ValueError("discriminator_width and discriminator_layers are at least 1")


class AutoencoderObjective(nn.Module):
    """Two players who move in turn. Videos of a single frame are images: batches of them may come between those of
    videos.

    Losses are float32 [B], one per sample, to be averaged; parts, for the log, are the same, detached, by name.
    """

    def __init__(self, autoencoder: VideoAutoencoder, config: AutoencoderLossConfig) -> None:
        """Raises UserError for an autoencoder that the config cannot train."""
        super().__init__()
        autoencoder.last_layer()
        if config.kl_weight and autoencoder.config.deterministic:
            raise UserError(
                "a deterministic autoencoder has no variance to hold near one: set autoencoder_loss.kl_weight=0"
            )
        if config.decoder_only and not hasattr(autoencoder, "freeze_for_decoder"):
            raise UserError("autoencoder_loss.decoder_only is for autoencoder.kind=frame with a temporal decoder")
        self.autoencoder, self.config = autoencoder, config
        if config.decoder_only:
            autoencoder.freeze_for_decoder()  # type: ignore[operator]
        self.perceptual = perceptual_named(config.perceptual) if config.perceptual_weight else None
        self.discriminator: PatchDiscriminator | None = None
        if config.discriminator != "none" and config.discriminator_weight:
            across_time = config.discriminator == "3d"
            self.discriminator = PatchDiscriminator(
                across_time, config.discriminator_width, config.discriminator_layers
            )

    @property
    def perceptual_name(self) -> str:
        """For the run card: what was really used."""
        return "none" if self.perceptual is None else self.perceptual.name

    def players(self, step: int) -> tuple[str, ...]:
        """Who moves in this step, in order."""
        return (GENERATOR, DISCRIMINATOR) if self._has_discriminator(step) else (GENERATOR,)

    def parameters_of(self, player: str) -> Iterable[tuple[str, nn.Parameter]]:
        """Names in this module, and parameters that the player moves; frozen ones are left out."""
        start = "discriminator." if player == DISCRIMINATOR else "autoencoder."
        return [(name, p) for name, p in self.named_parameters() if name.startswith(start) and p.requires_grad]

    def generator_losses(
        self, video: torch.Tensor, noise: SampleNoise, step: int
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """(losses, parts) of the autoencoder. video: float [B, T, 3, H, W] in [-1, 1]; noise: of its samples. Gradients
        reach the autoencoder only.
        """
        posterior = self.autoencoder.encode(video)
        reconstruction = self.autoencoder.decode(self._sampled(posterior, noise))
        likeness, parts = self._likeness(video, reconstruction)
        each = likeness
        if self.config.kl_weight:
            parts["kl"] = kl_divergence(posterior) / video[0].numel()
            each = each + self.config.kl_weight * parts["kl"]
        if self._has_discriminator(step):
            parts["adversarial"] = hinge_generator_loss(self._verdict(reconstruction))
            weight = self._adversarial_weight(likeness, parts["adversarial"])
            parts["adversarial_weight"] = weight.expand(len(video))
            each = each + weight * parts["adversarial"]
        return each, {name: part.detach() for name, part in ({"loss": each} | parts).items()}

    def discriminator_losses(
        self, video: torch.Tensor, reconstruction: torch.Tensor, step: int
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """(losses, parts) of the discriminator, zero before its start. reconstruction: of `reconstruct`, without
        gradient.
        """
        if self.discriminator is None or not self._has_discriminator(step):
            return video.new_zeros(len(video)), {}
        real, fake = (self.discriminator(x.detach()).float() for x in (video, reconstruction))
        each = hinge_discriminator_loss(real, fake)
        parts = {"discriminator": each, "verdict_on_real": real.mean(dim=1), "verdict_on_fake": fake.mean(dim=1)}
        return each, {name: part.detach() for name, part in parts.items()}

    @torch.no_grad()
    def reconstruct(self, video: torch.Tensor, noise: SampleNoise) -> torch.Tensor:
        """What the generator shows the discriminator: float [B, T, 3, H, W], from the latents that `generator_losses`
        draws.
        """
        return self.autoencoder.decode(self._sampled(self.autoencoder.encode(video), noise))

    @torch.no_grad()
    def validation_losses(self, video: torch.Tensor) -> torch.Tensor:
        """float32 [B]: reconstruction and perceptual loss at the mean of the latents, without any randomness."""
        return self._likeness(video, self.autoencoder.decode(self.autoencoder.encode(video).mean))[0]

    def _sampled(self, posterior: Posterior, noise: SampleNoise) -> torch.Tensor:
        if self.autoencoder.config.deterministic:
            return posterior.mean
        return posterior.sample(noise.normal(posterior.mean.shape[1:], "autoencoder latents").to(posterior.mean))

    def _likeness(
        self, video: torch.Tensor, reconstruction: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        error = reconstruction.float() - video.float()
        parts = {
            "reconstruction": (error.abs() if self.config.reconstruction == "l1" else error.square()).mean(
                dim=(1, 2, 3, 4)
            )
        }
        if self.perceptual is not None:
            parts["perceptual"] = self.perceptual(video, reconstruction)
            return parts["reconstruction"] + self.config.perceptual_weight * parts["perceptual"], parts
        return parts["reconstruction"], parts

    def _verdict(self, reconstruction: torch.Tensor) -> torch.Tensor:
        """Of a discriminator that no gradient reaches: the other player's step would find it in its own."""
        assert self.discriminator is not None
        fixed = {name: parameter.detach() for name, parameter in self.discriminator.named_parameters()}
        return functional_call(self.discriminator, fixed, (reconstruction,)).float()

    def _adversarial_weight(self, likeness: torch.Tensor, adversarial: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return likeness.new_zeros(())
        balance = adaptive_weight(likeness.mean(), adversarial.mean(), self.autoencoder.last_layer())
        return self.config.discriminator_weight * balance

    def _has_discriminator(self, step: int) -> bool:
        return self.discriminator is not None and step >= self.config.discriminator_start


def kl_divergence(posterior: Posterior) -> torch.Tensor:
    """float32 [B], in nats, from the standard normal, summed over a sample's latents; infinite where std is zero."""
    mean, std = posterior.mean.float(), posterior.std.float()
    return 0.5 * (mean.square() + std.square() - 1 - 2 * std.log()).sum(dim=(1, 2, 3, 4))
