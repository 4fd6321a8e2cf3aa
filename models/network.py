"""The part of a system that diffusion training moves: the backbone, and what is learned of its conditions."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from clipmill.models.adapt.branches import put_branches
from clipmill.models.autoencoders.contract import Autoencoder
from clipmill.models.backbones.by_name import as_backbone, backbone_named
from clipmill.models.conditioning.conditioner import Conditioner
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.config import ModelConfig
from clipmill.models.core.by_name import level_sampler_named, loss_weight_named, parametrisation_named, schedule_named
from clipmill.models.core.loss_weights import LossWeight
from clipmill.models.core.noise import SampleNoise
from clipmill.models.core.parametrisation import Parametrisation
from clipmill.models.core.schedules import Schedule
from clipmill.models.core.shift import linear_shift, square_root_shift
from clipmill.models.core.timesteps import LevelSampler
from clipmill.models.layers.plan import Grid
from clipmill.models.network_size import Shape, check_claims, of_these_shapes, that_fits
from clipmill.models.settings.learn import learn_of


class Network(nn.Module):
    """z float [B, T, C, H, W], noise level float [B], conditions -> prediction [B, T, C, H, W], and behind it, as C
    more channels, what is said of the variance where that is learned (`learned_variance.halves`).
    """

    def __init__(self, config: ModelConfig, latent_channels: int, shapes: Sequence[Shape] | None = None) -> None:
        """shapes: of the tensors of a checkpoint that claims this config. Raises UserError for options that contradict
        one another, or those tensors, and for a network that does not fit into memory.
        """
        super().__init__()
        if shapes is not None:
            check_claims(_claims(config), shapes, "card.json")
        self.conditioner = Conditioner(config.conditioning, latent_channels)
        needs = {
            "in_channels": latent_channels * (2 if config.diffusion.self_conditioning else 1),
            "out_channels": latent_channels * (2 if config.diffusion.variance_steps else 1),
            "vector_dim": self.conditioner.vector_dim,
            "token_dim": self.conditioner.token_dim,
            "frame_channels": self.conditioner.frame_channels,
        }
        with that_fits("this network") if shapes is None else of_these_shapes(shapes, "card.json"):
            self.backbone = backbone_named(config.backbone.kind, dict(config.backbone.options) | needs)
            put_branches(self.backbone, learn_of(config.train.learn))
        as_backbone(self.backbone).recompute_every = config.train.recompute
        # A single frame is then an image of its own, in training as in sampling.
        self.knows_images = bool(config.data.image_share or config.data.images_per_clip)
        self.reads_estimate = config.diffusion.self_conditioning > 0
        self.learns_variance = config.diffusion.variance_steps > 0

    def forward(self, z: torch.Tensor, noise_level: torch.Tensor, conditions: Conditions) -> torch.Tensor:
        """Given frames that are not predicted stand in place of their noise."""
        return self.backbone(self.seen(z, conditions), noise_level, self.conditioner(conditions))

    def seen(self, z: torch.Tensor, conditions: Conditions) -> torch.Tensor:
        """What the backbone sees of float [B, T, C, H, W]: see `Conditioner.seen`; behind it the network's own estimate
        where it reads that, zeros for none.
        """
        z = self.conditioner.seen(z, conditions)
        if not self.reads_estimate:
            return z
        estimate = torch.zeros_like(z) if conditions.estimate is None else conditions.estimate.to(z.dtype)
        return torch.cat([z, estimate], dim=2)

    def repeated_blocks(self) -> list[nn.Module]:
        """See `Backbone.repeated_blocks`."""
        return as_backbone(self.backbone).repeated_blocks()

    def flops(self, grid: Grid, tokens: int) -> int:
        """Of a forward pass over one video of latents of `grid`."""
        return as_backbone(self.backbone).flops(grid, tokens)


def _claims(config: ModelConfig) -> dict[str, Any]:
    """What parts are made by, one after another."""
    options, conditioning = config.backbone.options, config.conditioning
    found = {f"backbone.{name}": options[name] for name in ("width", "depth", "multipliers") if name in options}
    used = {"classes": conditioning.classes.column, "micro": conditioning.micro.columns}
    dims = {name: getattr(conditioning, name).dim for name in used if used[name]} | {"text": conditioning.text.dim}
    found |= {"train.learn rank": learn_of(config.train.learn).rank}
    dims |= {"reference": conditioning.reference.dim}
    return found | {f"conditioning.{name}.dim": dim for name, dim in dims.items()}


def seeded_network(config: ModelConfig, autoencoder: Autoencoder, shapes: Sequence[Shape] | None = None) -> Network:
    """With weights that depend on `train.seed` alone. shapes: see `Network`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        return Network(config, autoencoder.latent_channels, shapes)


class Diffusion:
    """The choices of a config as objects."""

    def __init__(self, config: ModelConfig) -> None:
        """Raises UserError for names and options that do not exist."""
        chosen = config.diffusion
        self._chosen = chosen
        self.parametrisation: Parametrisation = parametrisation_named(
            chosen.parametrisation, chosen.parametrisation_options
        )
        self.weight: LossWeight = loss_weight_named(chosen.weight, chosen.weight_options)
        self.levels: LevelSampler = level_sampler_named(chosen.levels, chosen.level_options)
        self.variance_steps = chosen.variance_steps
        # Whether a call of the network leaves something for the next one, or for the sampler.
        self.is_watched = bool(chosen.variance_steps or chosen.self_conditioning)
        self.schedule((1, 1, 1))

    def noise_of(self, noise: SampleNoise) -> SampleNoise:
        """The same, alike in all frames where the config wants that."""
        return replace(noise, alike=True) if self._chosen.frame_noise == "same" else noise

    def schedule(self, grid: Grid) -> Schedule:
        """For latents of `grid` (frames, height, width): shifted by the config's rule."""
        chosen = self._chosen
        return schedule_named(chosen.schedule, chosen.schedule_options, self._shift(grid))

    def _shift(self, grid: Grid) -> float:
        chosen, per_frame = self._chosen, grid[1] * grid[2]
        if chosen.shift_rule == "tokens":
            return chosen.shift * square_root_shift(grid[0] * per_frame, chosen.shift_base_tokens)
        if chosen.shift_rule == "linear":
            return chosen.shift * linear_shift(per_frame, grid[0])
        return chosen.shift
