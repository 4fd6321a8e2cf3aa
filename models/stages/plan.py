"""From a checkpoint and a request to the work that is to be done: every mistake is found here, before any work."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from clipmill.curate.common.memory import check_fits
from clipmill.curate.errors import UserError
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.loading import Loaded
from clipmill.models.generate.pictures import pictures_at
from clipmill.models.generate.prompts import Prompt, Wishes, draw_prompts
from clipmill.models.layers.embeddings import TimeEmbedding
from clipmill.models.layers.plan import Grid
from clipmill.models.settings.training import size_px
from clipmill.models.stages.asked import check_asked
from clipmill.models.stages.extension import extended, extension_of
from clipmill.models.stages.facts import facts_of, given_facts
from clipmill.models.stages.plain import plain
from clipmill.models.stages.request import Request
from clipmill.models.stages.work import Work


def plan(loaded: Loaded, request: Request) -> Work:
    """Raises UserError, one line."""
    window = window_of(loaded, request)
    check_asked(loaded, request, window)
    first = pictures_at(request.first, *window[1:]) if request.first else []
    last = pictures_at(request.last, *window[1:]) if request.last else []
    prompts = with_ends(prompts_of(loaded, request), first, last)
    prompts(1)
    make, grid = plain(window), window
    if request.extend is not None:
        extension = extension_of(loaded, request.extend, window)
        make, grid = extended(extension), (request.extend, *window[1:])
    check_memory(loaded, request.count, window, grid[0])
    facts = facts_of(loaded, request, grid)
    facts |= given_facts("first", request.first, first) | given_facts("last", request.last, last)
    if request.extend is not None:
        facts["window"] = window[0]
    # What was given stands in the video as it was given, not as the model made it: so it was not always.
    facts |= {"given": "kept"} if first or last else {}
    fps = loaded.config.sample.fps or float(loaded.card.get("fps", 8.0))
    return Work(loaded, request.count, SampleNoise(request.seed, ()), grid, fps, prompts, make, facts)


def prompts_of(loaded: Loaded, request: Request) -> Callable[[int], list[Prompt]]:
    """The first so many."""
    wishes = Wishes(request.captions, request.label, dict(request.numbers))
    reads_text = loaded.network.conditioner.text_encoder is not None
    return lambda count: draw_prompts(loaded.root, count, request.seed, wishes, reads_text)


def with_ends(
    prompts: Callable[[int], list[Prompt]], first: Sequence[torch.Tensor], last: Sequence[torch.Tensor]
) -> Callable[[int], list[Prompt]]:
    """Pictures by turns."""

    def turn(pictures: Sequence[torch.Tensor], index: int) -> torch.Tensor | None:
        return pictures[index % len(pictures)] if pictures else None

    return lambda count: [
        replace(prompt, first=turn(first, prompt.index), last=turn(last, prompt.index)) for prompt in prompts(count)
    ]


def window_of(loaded: Loaded, request: Request) -> Grid:
    """(frames, height px, width px) of what the model makes at once. Raises UserError for a size or a length that it
    cannot make.
    """
    data = loaded.config.data
    try:
        height, width = size_px(request.size or data.sizes[0])
    except ValueError as error:
        raise UserError(str(error)) from error
    grid = request.frames or max(data.frames), height, width
    check_memory(loaded, request.count, grid, grid[0])
    check_length(loaded, grid)
    return grid


def check_length(loaded: Loaded, grid: Grid) -> None:
    """Raises UserError for more frames than the model has learned positions of, where it has a table of them, and for
    what its autoencoder cannot take.
    """
    data, latents = loaded.config.data, loaded.autoencoder.latent_grid
    tables = [part for part in loaded.network.modules() if isinstance(part, TimeEmbedding) and part.table is not None]
    longest = max(data.frames)
    if latents(grid)[0] > latents((longest, *grid[1:]))[0] and tables:
        raise UserError(
            f"this model has learned the places of {longest} frames, not of {grid[0]}: take --frames {longest} or"
            " fewer, or train with longer data.frames, or with backbone.options.time_positions=rotary"
        )


def check_memory(loaded: Loaded, count: int, window: Grid, frames: int) -> None:
    """Raises UserError where windows, as floats, and whole videos, as bytes, do not fit. frames: of a whole video."""
    at_once, pixels = min(count, loaded.config.sample.batch), float(window[1]) * window[2]
    remedy = "choose a smaller --size, fewer --frames or a smaller sample.batch"
    check_fits(4.0 * 3 * at_once * window[0] * pixels, "what is sampled at once", remedy)
    if frames > window[0]:
        remedy = "choose a smaller --size, a shorter --extend or a smaller sample.batch"
        # Twice: parts, and what is made of them.
        check_fits(2.0 * 3 * at_once * frames * pixels, f"videos of {frames:,} frames", remedy)
