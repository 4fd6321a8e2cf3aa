"""From noise to videos with a trained network."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.contract import Autoencoder
from clipmill.models.autoencoders.pieces import Pieces
from clipmill.models.conditioning.conditioner import joined
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.config import SampleConfig
from clipmill.models.core.by_name import schedule_named
from clipmill.models.core.denoiser import Denoiser, branches_in_one_call, denoiser, in_geometry
from clipmill.models.core.geometry import Geometry
from clipmill.models.core.guidance import classifier_free, per_frame_linear
from clipmill.models.core.noise import SampleNoise
from clipmill.models.core.noise_level import NoiseLevel
from clipmill.models.core.samplers.ancestral import ancestral
from clipmill.models.core.samplers.ddim import ddim
from clipmill.models.core.samplers.edm import edm_euler, edm_heun
from clipmill.models.core.samplers.flow import flow_euler, flow_heun
from clipmill.models.core.sampling_levels import start, stations
from clipmill.models.layers.plan import Grid
from clipmill.models.network import Diffusion, Network
from clipmill.models.pixels import restored

_GEOMETRIES = {
    "ddim": Geometry.PRESERVING,
    "ancestral": Geometry.PRESERVING,
    "edm-euler": Geometry.EXPLODING,
    "edm-heun": Geometry.EXPLODING,
    "flow-euler": Geometry.STRAIGHT,
    "flow-heun": Geometry.STRAIGHT,
}
_PLAIN: dict[str, Callable[[Denoiser, torch.Tensor, NoiseLevel], torch.Tensor]] = {
    "ddim": ddim,
    "edm-euler": edm_euler,
    "edm-heun": edm_heun,
    "flow-euler": flow_euler,
    "flow-heun": flow_heun,
}


@dataclass(frozen=True)
class Generator:
    """A trained system, ready to sample. bf16: autocast, for GPUs."""

    network: Network
    autoencoder: Autoencoder
    diffusion: Diffusion
    config: SampleConfig
    device: torch.device
    bf16: bool = False

    def __post_init__(self) -> None:
        if self.config.sampler not in _GEOMETRIES:
            raise UserError(f"there is no sampler {self.config.sampler!r}; there are {', '.join(_GEOMETRIES)}")

    @torch.no_grad()
    def latents(self, grid: Grid, conditions: Conditions, noise: SampleNoise) -> torch.Tensor:
        """float32 [B, t, C, h, w], standardised. grid: of the latents; noise: of the videos to make, by their
        numbers.
        """
        channels = self.autoencoder.latent_channels
        trained = self.diffusion.schedule(grid)
        levels = self._levels(grid)
        denoise = in_geometry(self._guided(conditions, grid[0]), trained.geometry)
        shape = (grid[0], channels, grid[1], grid[2])
        z = start(noise.normal(shape, "start").to(self.device), levels)
        if self.config.sampler == "ancestral":
            return ancestral(denoise, z, levels, noise.steps(shape, "ancestral", self.device), self.config.gamma)
        return _PLAIN[self.config.sampler](denoise, z, levels)

    @torch.no_grad()
    def videos(self, grid: Grid, conditions: Conditions, noise: SampleNoise) -> torch.Tensor:
        """uint8 [B, T, 3, H, W] RGB on the CPU."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            z = self.network.conditioner.seen(self.latents(grid, conditions, noise), conditions)
            return self._pieces.decode(restored(z.float(), self.autoencoder), as_bytes)

    @cached_property
    def _pieces(self) -> Pieces:
        return Pieces(self.autoencoder)

    def _levels(self, grid: Grid) -> NoiseLevel:
        chosen = self.config
        schedule = self.diffusion.schedule(grid)
        if chosen.schedule is not None:
            schedule = schedule_named(chosen.schedule, chosen.schedule_options)
        levels = stations(schedule, chosen.steps)
        return _GEOMETRIES[chosen.sampler].level(levels.alpha, levels.sigma)

    def _guided(self, conditions: Conditions, frames: int) -> Denoiser:
        chosen, parametrisation = self.config, self.diffusion.parametrisation
        if chosen.guidance == 1 and chosen.guidance_last is None:
            return denoiser(self.network, parametrisation, conditions)
        both = joined(conditions, self.network.conditioner.unconditional(conditions))
        branches = branches_in_one_call(self.network, parametrisation, both, 2)
        last = chosen.guidance if chosen.guidance_last is None else chosen.guidance_last
        weight = chosen.guidance if last == chosen.guidance else per_frame_linear(chosen.guidance, last, frames)
        return classifier_free(branches, weight, chosen.rescale)


def as_bytes(video: torch.Tensor) -> torch.Tensor:
    """float [B, T, 3, H, W], nominally in [-1, 1] -> uint8 on the CPU, rounded and clamped."""
    return ((video.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu()
