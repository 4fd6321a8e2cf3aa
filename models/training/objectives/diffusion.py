"""Diffusion training: noise the latents of a batch, ask the network, weigh the error."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.contract import Autoencoder, Posterior
from clipmill.models.backbones.contract import TRAINING_TO_FORWARD_FLOPS
from clipmill.models.backbones.dit import DiT
from clipmill.models.backbones.sequence import Part
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.config import ModelConfig
from clipmill.models.core.losses import mean_of_frames, sample_losses
from clipmill.models.core.noise import SampleNoise
from clipmill.models.core.noise_level import NoiseLevel, noised
from clipmill.models.core.samplers.learned_variance import bound_weight, halves, level_before, variance_bound
from clipmill.models.core.timesteps import bin_centres
from clipmill.models.layers.plan import Grid
from clipmill.models.network import Diffusion, Network
from clipmill.models.pixels import standardised
from clipmill.models.training.data.batch import VideoBatch
from clipmill.models.training.data.encoding import Encoding
from clipmill.models.training.objectives.base import Losses, Objective

# Validation must not share noise with training, whose seeds are below 2**63.
_VALIDATION_SEED = 2**63


class DiffusionObjective(Objective):
    """The network's parameters are this module's; the autoencoder is frozen and no part of it."""

    def __init__(self, config: ModelConfig, network: Network, autoencoder: Autoencoder, device: torch.device) -> None:
        """Raises UserError for packed steps without a budget, and for those and images where the network has no place
        for them.
        """
        super().__init__()
        if config.data.packed and not (isinstance(network.backbone, DiT) and network.backbone.packs):
            raise UserError(
                f"the backbone {config.backbone.kind!r} takes videos of one shape at a time: set data.packed=false"
            )
        if config.data.packed and config.data.tokens is None:
            raise UserError("packed steps are filled up to a budget of tokens: set data.tokens")
        images = network.knows_images or config.conditioning.motion_drop
        if images and isinstance(network.backbone, DiT) and not network.backbone.config.takes_images:
            raise UserError(
                "frames that are images of their own need patches of a single frame, and no text in the sequence: set"
                " data.image_share=0, data.images_per_clip=0 and conditioning.motion_drop=0"
            )
        self.config, self.network, self.device = config, network, device
        self.diffusion = Diffusion(config)
        network.conditioner.encoders_to(device)
        # No module: that would become part of this one, its weights part of the checkpoint.
        self._encoding = Encoding(autoencoder, config.conditioning.frames)

    @property
    def autoencoder(self) -> Autoencoder:
        """What makes the latents. Its parameters are not trained."""
        return self._encoding.autoencoder

    def parameters_of(self, player: str) -> Iterable[tuple[str, nn.Parameter]]:
        return self.network.named_parameters()

    def forward(self, player: str, batch: VideoBatch, step: int) -> Losses:
        """Noise, noise levels and dropped conditions follow (train.seed, number of the sample)."""
        each = self._losses(self._with_estimates([self._noisy(part, batch.size) for part in batch.parts or (batch,)]))
        return Losses(each, {"loss": each.detach()})

    @torch.no_grad()
    def validation(self, batch: VideoBatch, bins: int) -> torch.Tensor:
        noise = self.diffusion.noise_of(SampleNoise(_VALIDATION_SEED, batch.indices))
        z, seen = self.encoded(batch, noise)
        conditions, frame_weights = self.conditions(batch, z, noise, drop=False, seen=seen)
        schedule = self.diffusion.schedule((z.shape[1], z.shape[3], z.shape[4]))
        columns = []
        for number, centre in enumerate(bin_centres(bins)):
            level = self.diffusion.levels.level(centre.expand(len(z)), schedule)
            eps = noise.normal(z.shape[1:], "noise", number).to(z.device)
            columns.append(self._losses([Noisy(z, eps, level, conditions, frame_weights)]).double().cpu())
        return torch.stack(columns, dim=1)

    def latents(self, batch: VideoBatch, noise: SampleNoise) -> torch.Tensor:
        """float32 [B, t, C, h, w] on the device, standardised."""
        return self.encoded(batch, noise).z

    @torch.no_grad()
    def encoded(self, batch: VideoBatch, noise: SampleNoise) -> "Encoded":
        """The batch as latents."""
        posterior = batch.latents if batch.latents is not None else self._encoded(batch)
        drawn = posterior.mean
        if bool(posterior.std.any()):
            drawn = posterior.sample(noise.normal(posterior.mean.shape[1:], "latents").to(posterior.mean))
        z, seen = self._encoding.parted(drawn.to(self.device, non_blocking=True))
        return Encoded(
            standardised(z, self.autoencoder), None if seen is None else standardised(seen, self.autoencoder)
        )

    def conditions(
        self,
        batch: VideoBatch,
        z: torch.Tensor,
        noise: SampleNoise,
        drop: bool = True,
        seen: torch.Tensor | None = None,
    ) -> tuple[Conditions, torch.Tensor | None]:
        """What the batch says of its clips, and [B, T] weights of frames where some are given and not predicted. seen:
        as of `Encoded`.
        """
        conditioner = self.network.conditioner
        independent = _of_latents(batch.independent, z.shape[1])
        made = conditioner.conditions(batch.captions, batch.numbers, batch.labels, independent)
        if conditioner.reference_encoder is not None:
            made = conditioner.with_reference(made, _shown_frames(batch, self.config.conditioning.reference.frame))
        made = made.map(lambda tensor: tensor.to(z.device))
        made, _ = conditioner.with_given_frames(made, z if seen is None else seen, noise)
        if drop:
            made = conditioner.dropped(made, noise)
            if conditioner.config.motion_drop:
                made = conditioner.still(made, z.shape[1], noise).map(lambda tensor: tensor.to(z.device))
        return made, conditioner.frame_weights(made)

    def aimed(self, part: "Noisy") -> "Noisy":
        """What the network is to say of the noisy video: what it was made of."""
        return part

    def blocks(self) -> list[nn.Module]:
        return self.network.repeated_blocks()

    def flops(self, grid: Grid) -> int:
        forward = self.network.flops(self.autoencoder.latent_grid(grid), self.network.conditioner.token_count)
        parameters = list(self.network.parameters())
        moved = sum(p.numel() for p in parameters if p.requires_grad)
        # Frozen weights pass gradients on and have none of their own: one product in three is spared.
        spared = forward * (sum(p.numel() for p in parameters) - moved) // sum(p.numel() for p in parameters)
        estimates = forward if self.network.reads_estimate else 0
        return TRAINING_TO_FORWARD_FLOPS * forward + estimates - spared

    def tokens(self, grid: Grid) -> int:
        frames, height, width = self.autoencoder.latent_grid(grid)
        return frames * height * width

    def _encoded(self, batch: VideoBatch) -> Posterior:
        assert batch.video is not None
        images = 0 if batch.independent is None else int(batch.independent[0].sum())
        return self._encoding(batch.video.to(self.device, non_blocking=True), images)

    def _noisy(self, batch: VideoBatch, size: int) -> "Noisy":
        """size: samples of the whole step."""
        noise = self.diffusion.noise_of(SampleNoise(self.config.train.seed, batch.indices))
        z, seen = self.encoded(batch, noise)
        conditions, frame_weights = self.conditions(batch, z, noise, seen=seen)
        block = size if self.config.diffusion.stratified else 1
        schedule = self.diffusion.schedule((z.shape[1], z.shape[3], z.shape[4]))
        level = self.diffusion.levels.level(noise.stratified("noise level", block), schedule)
        share = self.config.diffusion.self_conditioning
        shown = noise.uniform("self-conditioning") < share if share else None
        return Noisy(z, noise.normal(z.shape[1:], "noise").to(z.device), level, conditions, frame_weights, shown)

    @torch.no_grad()
    def _with_estimates(self, parts: "list[Noisy]") -> "list[Noisy]":
        """Those samples that draw it are shown what the network makes of them without (2208.04202, section 2.2)."""
        if not any(part.shown is not None and bool(part.shown.any()) for part in parts):
            return parts
        made = []
        for part, output in zip(parts, self._outputs(parts), strict=True):
            assert part.shown is not None
            shown = part.shown.to(part.z.device)[:, None, None, None, None]
            estimate = torch.where(shown, self._x0(output[:, :, : part.z.shape[2]], part), 0.0)
            made.append(part._replace(conditions=replace(part.conditions, estimate=estimate)))
        return made

    def _x0(self, prediction: torch.Tensor, part: "Noisy") -> torch.Tensor:
        z = noised(part.z, part.eps, part.level)
        return self.diffusion.parametrisation.estimate(prediction.float(), z, part.level).x0

    def _losses(self, parts: "Sequence[Noisy]") -> torch.Tensor:
        """float32 [B], part after part."""
        parts = [self.aimed(part) for part in parts]
        return torch.cat([self._loss(*pair) for pair in zip(self._outputs(parts), parts, strict=True)])

    def _loss(self, output: torch.Tensor, part: "Noisy") -> torch.Tensor:
        """The squared error, and the bound of the variance where that is learned (2102.09672, equation 16)."""
        chosen, steps = self.diffusion, self.diffusion.variance_steps
        prediction, gamma = halves(output) if steps else (output, None)
        simple = sample_losses(
            prediction, part.z, part.eps, part.level, chosen.parametrisation, chosen.weight, part.frame_weights,
            self.config.diffusion.max_weight,
        )  # fmt: skip
        if gamma is None:
            return simple
        schedule = chosen.schedule((part.z.shape[1], part.z.shape[3], part.z.shape[4]))
        error = self._x0(prediction.detach(), part) - part.z
        # An error of x0 as one of the prediction, which the squared error bounds in the same way.
        as_predicted = chosen.parametrisation.gain(part.level) * part.level.length / part.level.sigma
        most = self.config.diffusion.max_weight * as_predicted.square()
        bound = variance_bound(gamma, error, part.level, level_before(part.level, schedule, steps), most)
        return simple + bound_weight(steps) * mean_of_frames(bound, part.frame_weights)

    def _outputs(self, parts: "Sequence[Noisy]") -> list[torch.Tensor]:
        parametrisation = self.diffusion.parametrisation
        seen = [parametrisation.network_input(noised(part.z, part.eps, part.level), part.level) for part in parts]
        levels = [parametrisation.network_level(part.level).to(part.z.device) for part in parts]
        if len(parts) == 1:
            return [self.network(seen[0], levels[0], parts[0].conditions)]
        conditioner, backbone = self.network.conditioner, self.network.backbone
        assert isinstance(backbone, DiT)
        given = [part.conditions for part in parts]
        return backbone.forward_packed([
            Part(self.network.seen(z, conditions), level, conditioner(conditions))
            for z, level, conditions in zip(seen, levels, given, strict=True)
        ])  # fmt: skip


def _shown_frames(batch: VideoBatch, which: str) -> torch.Tensor:
    """uint8 [B, 3, H, W], of the clips. which: middle or first."""
    assert batch.video is not None
    if which == "first":
        return batch.video[:, 0]
    frames = batch.video.shape[1]
    clip = frames if batch.independent is None else frames - int(batch.independent[0].sum())
    return batch.video[:, (clip or frames) // 2]


def _of_latents(independent: torch.Tensor | None, latents: int) -> torch.Tensor | None:
    """bool [B, frames] -> [B, latents]: a clip may have fewer latents than frames, an image behind it has one."""
    return None if independent is None else independent[:, -latents:]


class Encoded(NamedTuple):
    """float32 [B, t, C, h, w] on the device, standardised: latents of videos, and of what the model is given of them
    where that is a video of its own (`FramesConfig.needs_pixels`).
    """

    z: torch.Tensor
    seen: torch.Tensor | None


class Noisy(NamedTuple):
    """Videos of one shape as one training step sees them: latents, noise, its level, conditions, weights of frames;
    shown: bool [B], which are shown the network's own estimate.
    """

    z: torch.Tensor
    eps: torch.Tensor
    level: NoiseLevel
    conditions: Conditions
    frame_weights: torch.Tensor | None
    shown: torch.Tensor | None = None
