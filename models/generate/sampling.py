"""From noise to videos with a trained network."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.contract import Autoencoder
from clipmill.models.autoencoders.pieces import Pieces
from clipmill.models.conditioning.config import ConditioningConfig
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.conditioning.observation import enlarged, observed
from clipmill.models.config import SampleConfig
from clipmill.models.core.by_name import schedule_named
from clipmill.models.core.denoiser import Denoiser, denoiser, in_geometry
from clipmill.models.core.geometry import Geometry
from clipmill.models.core.noise import SampleNoise, StepNoise
from clipmill.models.core.noise_level import NoiseLevel
from clipmill.models.core.samplers.ancestral import ancestral
from clipmill.models.core.samplers.ddim import ddim, ddim_inversion
from clipmill.models.core.samplers.edm import edm_euler, edm_heun
from clipmill.models.core.samplers.flow import flow_euler, flow_heun
from clipmill.models.core.sampling_levels import start, stations
from clipmill.models.generate.given import Given
from clipmill.models.generate.guided import Known, check_threshold, guided, thresholded, told_what_is_known
from clipmill.models.generate.moving import check_moving, moving_latents
from clipmill.models.generate.watching import Watching
from clipmill.models.layers.plan import Grid
from clipmill.models.network import Diffusion, Network
from clipmill.models.pixels import as_floats, restored, standardised
from clipmill.models.zero_shot.network_changes import changed_network, check_changes
from clipmill.models.zero_shot.smoothing import smoothed

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
    """A trained system, ready to sample. bf16: autocast, for GPUs. prior: makes embeddings of pictures for it."""

    network: Network
    autoencoder: Autoencoder
    diffusion: Diffusion
    config: SampleConfig
    device: torch.device
    bf16: bool = False
    prior: "Generator | None" = None

    def __post_init__(self) -> None:
        check_sampling(self.config, self.autoencoder, self.network.conditioner.config)
        check_changes(self.network, self.config)

    @torch.no_grad()
    def latents(
        self,
        grid: Grid,
        conditions: Conditions,
        noise: SampleNoise,
        given: Given | None = None,
        z: torch.Tensor | None = None,
        between: tuple[int, int | None] = (0, None),
    ) -> torch.Tensor:
        """float32 [B, t, C, h, w], standardised. grid: of the latents; noise: of the videos to make, by their numbers.
        given: frames of theirs. z: what to start from in place of noise, such as `inverted` found. between: the
        sampler's station at which z stands, and the one to stop at; None for the end.
        """
        if z is None and grid[0] > 1 and self.config.zero_shot.motion is not None:
            return moving_latents(self, grid, conditions, noise, given)
        noise = self.diffusion.noise_of(noise)
        shape = (grid[0], self.autoencoder.latent_channels, grid[1], grid[2])
        levels = self.levels(grid)
        with self._autocast(), changed_network(self.network, self.config, grid[0]):
            conditions, known = self._told(conditions, given, grid[0], noise)
            network = self._asked()
            denoise = self._denoiser(network, grid, conditions, levels)
            denoise = network.watched(denoise) if isinstance(network, Watching) else denoise
            if known is not None:
                fresh = noise.steps(shape, "known frames", self.device)
                denoise = told_what_is_known(denoise, known, self.config, levels, fresh)
            if self.config.dynamic_threshold:
                denoise = thresholded(denoise, self.config.dynamic_threshold, self.autoencoder)
            if self.config.zero_shot.smooth:
                denoise = smoothed(denoise, levels, self.config.zero_shot.smooth, (self._floats, self._encoded))
            z = self._start(shape, levels, noise) if z is None else z
            way = levels[_way(between)]
            learned = network.gamma if isinstance(network, Watching) and self.network.learns_variance else None
            made = self._sampled(denoise, z, way, noise.steps(shape, "ancestral", self.device), learned)
            finished = self.network.conditioner.seen(made, conditions)
        return finished.float() if known is None else known.put_into(finished.float())

    @torch.no_grad()
    def inverted(
        self,
        z: torch.Tensor,
        conditions: Conditions,
        noise: SampleNoise,
        given: Given | None = None,
        between: tuple[int, int | None] = (0, None),
    ) -> torch.Tensor:
        """float [B, t, C, h, w], standardised latents of videos -> from where `latents` comes back to them, with DDIM,
        without guidance and with the same conditions. between: see `latents`; z stands at the second.
        """
        conditions, _ = self._told(conditions, given, z.shape[1], noise)
        grid = (z.shape[1], z.shape[3], z.shape[4])
        levels, trained = self.levels(grid)[_way(between)], self.diffusion.schedule(grid)
        with self._autocast():
            plain = denoiser(self._asked(), self.diffusion.parametrisation, conditions)
            return ddim_inversion(in_geometry(plain, trained.geometry), z, levels, max(1, self.config.inversion))

    def decoded(self, z: torch.Tensor) -> torch.Tensor:
        """float [B, t, C, h, w], standardised -> uint8 [B, T, 3, H, W] RGB on the CPU."""
        with torch.no_grad(), self._autocast():
            return self._pieces.decode(restored(z.float(), self.autoencoder), as_bytes)

    @torch.no_grad()
    def encoded(self, video: torch.Tensor) -> torch.Tensor:
        """uint8 [B, T, 3, H, W] -> float32 [B, t, C, h, w] on the device, standardised, without any doubt."""
        return self._encoded(as_floats(video.to(self.device)))

    @torch.no_grad()
    def observed(self, video: torch.Tensor) -> Given:
        """What a model with given = low | structure is given of a video of the full size, uint8 [B, T, 3, H, W]."""
        config = self.network.conditioner.config.frames
        return Given(self._encoded(observed(config, as_floats(video.to(self.device)))), None)

    @torch.no_grad()
    def enlarged(self, video: torch.Tensor, grid: Grid) -> Given:
        """The same of a video that is really smaller. grid: (frames, height, width) of the full one."""
        config = self.network.conditioner.config.frames
        return Given(self._encoded(enlarged(config, as_floats(video.to(self.device)), grid)), None)

    def _encoded(self, video: torch.Tensor) -> torch.Tensor:
        return standardised(self._pieces.encode(video).mean, self.autoencoder)

    def videos(
        self, grid: Grid, conditions: Conditions, noise: SampleNoise, given: Given | None = None
    ) -> torch.Tensor:
        """uint8 [B, T, 3, H, W] RGB on the CPU; see `latents`."""
        return self.decoded(self.latents(grid, conditions, noise, given))

    @cached_property
    def _pieces(self) -> Pieces:
        return Pieces(self.autoencoder)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def _floats(self, z: torch.Tensor) -> torch.Tensor:
        """As `decoded`, float [B, T, 3, H, W], not clamped."""
        return self._pieces.decode(restored(z.float(), self.autoencoder))

    def _start(self, shape: tuple[int, ...], levels: NoiseLevel, noise: SampleNoise) -> torch.Tensor:
        """float32 [B, *shape] at the first station."""
        if self.config.zero_shot.shared_noise:
            same = noise.normal((1, *shape[1:]), "start").expand(-1, shape[0], -1, -1, -1)
            return start(same.to(self.device), levels)
        return start(noise.normal(shape, "start").to(self.device), levels)

    def levels(self, grid: Grid) -> NoiseLevel:
        """[steps + 1], the sampler's stations for latents of `grid`."""
        chosen = self.config
        schedule = self.diffusion.schedule(grid)
        if chosen.schedule is not None:
            schedule = schedule_named(chosen.schedule, chosen.schedule_options)
        levels = stations(schedule, chosen.steps)
        return _GEOMETRIES[chosen.sampler].level(levels.alpha, levels.sigma)

    def _told(
        self, conditions: Conditions, given: Given | None, frames: int, noise: SampleNoise
    ) -> tuple[Conditions, Known | None]:
        """Given frames as a condition where the model was trained so, else beside it."""
        conditioner = self.network.conditioner
        if given is None:
            return conditions, None
        if given.places is None:
            return conditioner.with_observed(conditions, given.latents, noise), None
        if self.config.known != "trained":
            return conditions, given.known(frames)
        return conditioner.with_known_frames(conditions, given.latents, frames, noise, given.places), None

    def _asked(self) -> Network | Watching:
        return Watching(self.network) if self.diffusion.is_watched else self.network

    def _denoiser(
        self, network: Network | Watching, grid: Grid, conditions: Conditions, levels: NoiseLevel
    ) -> Denoiser:
        chosen = guided(network, self.diffusion, conditions, self.config, levels, grid[0])
        return in_geometry(chosen, self.diffusion.schedule(grid).geometry)

    def _sampled(
        self,
        denoise: Denoiser,
        z: torch.Tensor,
        levels: NoiseLevel,
        fresh: StepNoise,
        learned: Callable[[], torch.Tensor] | None,
    ) -> torch.Tensor:
        if self.config.sampler == "ancestral":
            return ancestral(denoise, z, levels, fresh, learned or self.config.gamma)
        return _PLAIN[self.config.sampler](denoise, z, levels)


def check_sampling(config: SampleConfig, autoencoder: Autoencoder, conditioning: ConditioningConfig) -> None:
    """Raises UserError for a sampler that there is not, for pixels to be clipped where there are none, and for guidance
    by what no sample was trained without.
    """
    if config.motion_guidance != 1 and not conditioning.motion_drop:
        raise UserError(
            "this model was not trained without motion: set sample.motion_guidance=1, or train it with"
            " conditioning.motion_drop"
        )
    if config.sampler not in _GEOMETRIES:
        raise UserError(f"there is no sampler {config.sampler!r}; there are {', '.join(_GEOMETRIES)}")
    check_threshold(config, autoencoder)
    check_moving(config, autoencoder)


def _way(between: tuple[int, int | None]) -> slice:
    """From one station to another, which belongs to it."""
    return slice(between[0], None if between[1] is None else between[1] + 1)


def as_bytes(video: torch.Tensor) -> torch.Tensor:
    """float [B, T, 3, H, W], nominally in [-1, 1] -> uint8 on the CPU, rounded and clamped."""
    return ((video.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu()
