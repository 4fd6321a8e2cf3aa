"""Long videos, window after window: each is given the last frames of the one before it, which stay as they are."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import torch

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.contract import Autoencoder
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.conditions import (
    beginning_with,
    conditions_of,
    given_of,
    pictures_of,
    with_pictures,
)
from clipmill.models.generate.given import Given
from clipmill.models.generate.loading import Loaded
from clipmill.models.generate.prompts import Prompt
from clipmill.models.generate.sampling import Generator
from clipmill.models.layers.plan import Grid
from clipmill.models.stages.extension_back import Back
from clipmill.models.stages.work import Make


@dataclass(frozen=True)
class Extension:
    """frames: in all. window: of the videos that the model makes. context: latent frames that a window is shown of the
    one before; overlap: the frames of these. back: what is made before all of them, or nothing.
    """

    frames: int
    window: Grid
    context: int
    overlap: int
    back: Back | None = None


def extension_of(loaded: Loaded, frames: int | None, window: Grid, before: int | None = None) -> Extension:
    """frames: from the first window on, None for that alone; before: more frames, in front of it. Raises UserError
    where the model continues nothing, or nothing that long is asked for.
    """
    latents = loaded.autoencoder.latent_grid(window)[0]
    if frames is not None and frames <= window[0]:
        raise UserError(
            f"--extend makes videos longer than a window of {window[0]} frames, not {frames}: take more, or --frames"
        )
    context = context_of(loaded, latents)
    overlap = _frames_of(loaded.autoencoder, context, window)
    shared = window[0] - _frames_of(loaded.autoencoder, latents - context, window)
    back = None if before is None else Back(before, window, context, shared)
    return Extension(frames or window[0], window, context, overlap, back)


def extended(plan: Extension) -> Make:
    """The first window begins with the picture that is given, where one is."""

    def make(generator: Generator, some: Sequence[Prompt], noise: SampleNoise) -> torch.Tensor:
        latent_grid, pictures = generator.autoencoder.latent_grid(plan.window), pictures_of(some)
        conditions = conditions_of(generator, some, latent_grid)
        z = generator.latents(latent_grid, conditions, noise, given_of(generator, pictures))
        parts = [with_pictures(generator.decoded(z), pictures)]
        front = [] if plan.back is None else [plan.back.made(generator, conditions, noise, z, parts[0])]
        tail, there = parts[0], plan.window[0]
        for number in count(1):
            if there >= plan.frames:
                break
            # Where latents are the same wherever a window begins, they are what the next is given, bit by bit.
            alike = latent_grid[0] == plan.window[0] or generator.autoencoder.given_as_latents
            shown = z[:, -plan.context :] if alike else generator.encoded(tail[:, -plan.overlap :])
            given = Given(shown, range(plan.context))
            if generator.network.conditioner.config.reference.frame == "first":
                begun = beginning_with(some, tail[:, -plan.overlap])
                conditions = conditions_of(generator, begun, latent_grid)
            z = generator.latents(latent_grid, conditions, noise.of_part(f"window {number}"), given)
            z = given.known(latent_grid[0]).put_into(z)
            parts.append(generator.decoded(z)[:, plan.overlap :])
            tail, there = torch.cat([tail, parts[-1]], dim=1)[:, -plan.overlap :], there + parts[-1].shape[1]
        return torch.cat([*front, torch.cat(parts, dim=1)[:, : plan.frames]], dim=1)

    return make


def context_of(loaded: Loaded, latents: int) -> int:
    """Latent frames: as asked for, else as many as were trained, else half a window."""
    chosen, frames = loaded.config.sample, loaded.config.conditioning.frames
    trained = chosen.known == "trained"
    most = min(latents - 1, frames.context_frames if frames.given == "masks" else 1) if trained else latents - 1
    if chosen.context is None:
        return most if trained else latents // 2
    if chosen.context > most and not (trained and frames.random and chosen.context < latents):
        raise UserError(
            f"this model continues up to {most} of the {latents} frames of a window: set sample.context={most}"
        )
    return chosen.context


def _frames_of(autoencoder: Autoencoder, latents: int, window: Grid) -> int:
    """The fewest frames that have so many latents."""
    for frames in range(1, window[0]):
        try:
            if autoencoder.latent_grid((frames, *window[1:]))[0] == latents:
                return frames
        except UserError:  # not a length that it takes
            continue
    raise UserError(f"no {latents} latents stand for whole frames: set another sample.context")
