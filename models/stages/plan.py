"""From a checkpoint and a request to the work that is to be done: every mistake is found here, before any work."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch

from clipmill.curate.common.memory import check_fits
from clipmill.curate.errors import UserError
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.loading import Loaded
from clipmill.models.generate.pictures import pictures_at, windows_at
from clipmill.models.generate.prompts import Prompt, Wishes, draw_prompts
from clipmill.models.layers.embeddings import TimeEmbedding
from clipmill.models.layers.plan import Grid
from clipmill.models.settings.training import size_px
from clipmill.models.stages.asked import check_asked
from clipmill.models.stages.editing import Edits, edited
from clipmill.models.stages.extension import extended, extension_of
from clipmill.models.stages.facts import facts_of, given_facts
from clipmill.models.stages.plain import plain
from clipmill.models.stages.request import Request
from clipmill.models.stages.work import Make, Work

Draw = Callable[[int], list[Prompt]]


def plan(loaded: Loaded, request: Request) -> Work:
    """Raises UserError, one line."""
    window = window_of(loaded, request)
    check_asked(loaded, request, window)
    make = _edit if request.edit is not None else _extension if request.extend is not None else _plain
    return make(loaded, request, window)


def _plain(loaded: Loaded, request: Request, window: Grid) -> Work:
    prompts, given = _with_ends(loaded, request, window)
    return _work(loaded, request, window, prompts, plain(window), given)


def _extension(loaded: Loaded, request: Request, window: Grid) -> Work:
    assert request.extend is not None
    extension = extension_of(loaded, request.extend, window)
    check_memory(loaded, request.count, window, request.extend)
    prompts, given = _with_ends(loaded, request, window)
    grid, given = (request.extend, *window[1:]), given | {"window": window[0]}
    return _work(loaded, request, grid, prompts, extended(extension), given)


def _edit(loaded: Loaded, request: Request, window: Grid) -> Work:
    assert request.edit is not None
    path, fps = request.edit, float(loaded.card.get("fps", 8.0))
    edits = Edits(lru_cache(maxsize=1)(lambda most: windows_at(path, window, fps, most)), request)
    given = {"edit": edits.key, "edit_path": str(path.resolve()), "source_caption": request.source_caption}
    few = replace(request, count=edits.count)
    prompts = edits.prompts(prompts_of(loaded, request))
    return _work(loaded, few, window, prompts, edited(request.source_caption or ""), given)


def _work(loaded: Loaded, request: Request, grid: Grid, prompts: Draw, make: Make, given: dict[str, Any]) -> Work:
    prompts(1)
    facts = facts_of(loaded, request, grid) | given
    return Work(loaded, request.count, SampleNoise(request.seed, ()), grid, fps_of(loaded), prompts, make, facts)


def fps_of(loaded: Loaded) -> float:
    """Of the videos that the model makes, 1/s."""
    return loaded.config.sample.fps or float(loaded.card.get("fps", 8.0))


def prompts_of(loaded: Loaded, request: Request) -> Draw:
    """The first so many."""
    wishes = Wishes(request.captions, request.label, dict(request.numbers))
    reads_text = loaded.network.conditioner.text_encoder is not None
    return lambda count: draw_prompts(loaded.root, count, request.seed, wishes, reads_text)


def _with_ends(loaded: Loaded, request: Request, window: Grid) -> tuple[Draw, dict[str, Any]]:
    """Prompts with pictures by turns, and what the folder says of these."""
    asked = {"first": request.first, "last": request.last, "reference": request.reference}
    pictures = {name: pictures_at(path, *window[1:]) for name, path in asked.items() if path is not None}
    drawn, facts = prompts_of(loaded, request), dict[str, Any]()
    for name, found in pictures.items():
        facts |= given_facts(name, asked[name], found)

    def turn(name: str, index: int) -> torch.Tensor | None:
        return pictures[name][index % len(pictures[name])] if name in pictures else None

    def with_pictures(p: Prompt) -> Prompt:
        first, last, reference = (turn(name, p.index) for name in ("first", "last", "reference"))
        return replace(p, first=first, last=last, reference=reference)

    # What was given stands in the video as it was given, not as the model made it: so it was not always.
    facts |= {"given": "kept"} if pictures.keys() & {"first", "last"} else {}
    return lambda count: [with_pictures(prompt) for prompt in drawn(count)], facts


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
