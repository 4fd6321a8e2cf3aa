"""From a checkpoint and a request to the work that is to be done: every mistake is found here, before any work."""

from dataclasses import replace
from functools import lru_cache

from clipmill.curate.common.memory import check_fits
from clipmill.curate.errors import UserError
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.loading import Loaded
from clipmill.models.generate.pictures import windows_at
from clipmill.models.generate.prompts import Wishes, draw_prompts
from clipmill.models.layers.embeddings import TimeEmbedding
from clipmill.models.layers.plan import Grid
from clipmill.models.settings.training import size_px
from clipmill.models.stages.asked import check_asked
from clipmill.models.stages.editing import Edits, edited
from clipmill.models.stages.ends import Draw, Told, with_pictures
from clipmill.models.stages.extension import extended, extension_of
from clipmill.models.stages.facts import facts_of
from clipmill.models.stages.plain import plain
from clipmill.models.stages.request import Request
from clipmill.models.stages.work import Make, Work


def plan(loaded: Loaded, request: Request) -> Work:
    """Raises UserError, one line."""
    window = window_of(loaded, request)
    check_asked(loaded, request, window)
    longer = request.extend is not None or request.extend_before is not None
    make = _edit if request.edit is not None else _extension if longer else _plain
    return make(loaded, request, window)


def _plain(loaded: Loaded, request: Request, window: Grid) -> Work:
    return _work(loaded, request, window, with_pictures(prompts_of(loaded, request), request, window), plain(window))


def _extension(loaded: Loaded, request: Request, window: Grid) -> Work:
    extension = extension_of(loaded, request.extend, window, request.extend_before)
    frames = extension.frames + (request.extend_before or 0)
    check_memory(loaded, request.count, window, frames)
    told = with_pictures(prompts_of(loaded, request), request, window)
    before = {"frames_before": request.extend_before} if request.extend_before else {}
    told = replace(told, facts=told.facts | {"window": window[0]} | before)
    return _work(loaded, request, (frames, *window[1:]), told, extended(extension))


def _edit(loaded: Loaded, request: Request, window: Grid) -> Work:
    assert request.edit is not None
    path, fps = request.edit, float(loaded.card.get("fps", 8.0))
    edits = Edits(lru_cache(maxsize=1)(lambda most: windows_at(path, window, fps, most)), request)
    few = replace(request, count=edits.count)
    facts = {"edit": edits.key, "edit_path": str(path.resolve()), "source_caption": request.source_caption}
    seen = with_pictures(prompts_of(loaded, request), request, window)
    told = Told(edits.prompts(seen.prompts), facts | seen.facts, [*edits.notes(path, window), *seen.notes])
    return _work(loaded, few, window, told, edited(request.source_caption or ""))


def _work(loaded: Loaded, request: Request, grid: Grid, told: Told, make: Make) -> Work:
    told.prompts(1)
    facts, noise = facts_of(loaded, request, grid) | told.facts, SampleNoise(request.seed, ())
    made = Work(loaded, request.count, noise, grid, fps_of(loaded), told.prompts, make, facts)
    return replace(made, notes=told.notes)


def fps_of(loaded: Loaded) -> float:
    """Of the videos that the model makes, 1/s."""
    return loaded.config.sample.fps or float(loaded.card.get("fps", 8.0))


def prompts_of(loaded: Loaded, request: Request) -> Draw:
    """The first so many."""
    wishes = Wishes(request.captions, request.label, dict(request.numbers))
    return lambda count: draw_prompts(loaded.root, count, request.seed, wishes, loaded.reads_text)


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
