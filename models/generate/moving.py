"""Videos of a model of images: one picture on its way from noise, moved on from frame to frame (Text2Video-Zero,
Khachatryan et al. 2023, 2303.13439).
"""

from typing import TYPE_CHECKING

import torch

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.contract import Autoencoder
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.config import SampleConfig
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.given import Given
from clipmill.models.layers.plan import Grid
from clipmill.models.zero_shot.attending import of_frames
from clipmill.models.zero_shot.background import salient, with_background
from clipmill.models.zero_shot.motion import moved, noised_further, station_at

if TYPE_CHECKING:
    from clipmill.models.generate.sampling import Generator

# One step of each estimate, and no noise of its own.
_FIRST_ORDER = ("ddim", "flow-euler", "edm-euler")


def moving_latents(
    generator: "Generator", grid: Grid, conditions: Conditions, noise: SampleNoise, given: Given | None
) -> torch.Tensor:
    """As `Generator.latents`. The first frame alone goes down to the second of the times that `motion_times` names;
    there it is moved, brought back to the first time, and all frames go on together. Raises UserError for given frames.
    """
    if given is not None and given.places is not None:
        raise UserError("sample.zero_shot.motion makes all frames of the first: leave given frames out")
    chosen, steps = generator.config.zero_shot, generator.config.steps
    down, early = (station_at(share, steps) for share in chosen.motion_times)
    first = (1, *grid[1:]), of_frames(conditions, slice(0, 1)), noise, _given(given, slice(0, 1))
    picture = generator.latents(*first, between=(0, early))
    step = _in_latents(generator)
    later = moved(generator.latents(*first, picture, (early, down)), grid[0], step)[:, 1:]
    if down > early:
        later = _forward(generator, later, conditions, noise, given, (early, down))
    z = torch.cat([picture, later], dim=1)
    together = grid, conditions, noise, given
    made = generator.latents(*together, z, (early, None))
    if not chosen.background:
        return made
    mask = salient(generator.decoded(made), grid[1:])
    own = moved(mask[:, :1, None], grid[0], step)[:, :, 0]
    z = with_background(z, moved(picture, grid[0], step), ~(mask | own), chosen.background)
    return generator.latents(*together, z, (early, None))


def check_moving(config: SampleConfig, autoencoder: Autoencoder) -> None:
    """Raises UserError for a sampler, or for latents, that have no place for motion or smoothing."""
    chosen = config.zero_shot
    asked = [name for name, there in (("motion", chosen.motion is not None), ("smooth", chosen.smooth)) if there]
    if not asked:
        return
    if config.sampler not in _FIRST_ORDER:
        raise UserError(
            f"sample.zero_shot.{asked[0]} goes along {', '.join(_FIRST_ORDER)}, not {config.sampler}: set"
            " sample.sampler=ddim"
        )
    if chosen.motion is not None and chosen.motion_forward == "ddim" and config.sampler != "ddim":
        raise UserError("sample.zero_shot.motion_forward=ddim needs sample.sampler=ddim")
    if autoencoder.time_factor != 1:
        raise UserError(
            f"sample.zero_shot.{asked[0]} is about single frames, and each latent of this model is of several: train an"
            " image model with autoencoder.options.time_factor=1"
        )


def _forward(
    generator: "Generator",
    z: torch.Tensor,
    conditions: Conditions,
    noise: SampleNoise,
    given: Given | None,
    between: tuple[int, int],
) -> torch.Tensor:
    """All frames but the first, back to the noisier of the two stations."""
    if generator.config.zero_shot.motion_forward == "ddim":
        later = slice(1, None)
        return generator.inverted(z, of_frames(conditions, later), noise, _given(given, later), between)
    levels = generator.levels((z.shape[1] + 1, z.shape[3], z.shape[4]))
    early, down = between
    return noised_further(z, levels[down], levels[early], noise.normal(z.shape[1:], "motion"))


def _in_latents(generator: "Generator") -> tuple[float, float]:
    """The step from frame to frame, to the right and down, in latents."""
    motion, factor = generator.config.zero_shot.motion, generator.autoencoder.space_factor
    assert motion is not None
    return motion[0] / factor, motion[1] / factor


def _given(given: Given | None, frames: slice) -> Given | None:
    return None if given is None else Given(given.latents[:, frames], None)
