"""How a stage takes the videos of the stage before it: what it is given of them, and window by window."""

from collections.abc import Sequence
from dataclasses import dataclass

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.pixels import Pixels
from clipmill.models.conditioning.config import FramesConfig
from clipmill.models.conditioning.observation import check_observed
from clipmill.models.generate.loading import Loaded
from clipmill.models.layers.plan import Grid
from clipmill.models.settings.training import size_px
from clipmill.models.stages.extension import context_of


@dataclass(frozen=True)
class Window:
    """begin, frames: of the stage's videos. source, sources: begin and frames of what it is made of."""

    begin: int
    frames: int
    source: int
    sources: int


@dataclass(frozen=True)
class Taking:
    """gets: what the stage is given, in words. grid: (frames, height px, width px) of its videos. kept: every so
    many-th frame of a window is a frame of the stage before, 0 for none. rate: how many times as many frames a second.
    latents: every so many-th latent of a window is one of the stage before, 0 for none.
    """

    gets: str
    grid: Grid
    windows: Sequence[Window]
    kept: int
    rate: int
    latents: int = 0


def taking_of(loaded: Loaded, before: Grid) -> Taking:
    """before: of the videos before. Raises UserError for a checkpoint that does not fit behind them."""
    frames = loaded.config.conditioning.frames
    if frames.given == "none":
        return _guided(loaded, before)
    if frames.given == "low":
        return _low(loaded, frames, before)
    _check_size(loaded, before, 1)
    if frames.given == "structure":
        check_observed(frames, before)
        zero_shot = loaded.config.sample.zero_shot
        at_once = (
            zero_shot.attention != "trained" or zero_shot.motion is not None
        )  # an image model, but not frame by frame
        windows = cut(before[0], before[0] if at_once else max(loaded.config.data.frames), 1)
        return Taking(f"the {frames.structure} of every frame", before, windows, 0, 1)
    every = _every(loaded, frames)
    if every and loaded.autoencoder.given_as_latents:
        return _latents(loaded, every, before)
    if every:
        return _interpolation(loaded, every, before)
    if frames.given == "first" or (frames.given == "masks" and frames.prediction + frames.random + frames.past_future):
        return _first(loaded, before)
    raise _takes_nothing(loaded)


def _takes_nothing(loaded: Loaded) -> UserError:
    return UserError(
        f"{loaded.root} takes nothing of the videos before it: train it with conditioning.frames.given=low, structure,"
        " first or masks, or, where it makes larger videos, guide it, --then-set K:sample.known=guidance"
    )


def _low(loaded: Loaded, frames: FramesConfig, before: Grid) -> Taking:
    _check_size(loaded, before, frames.space)
    grid = before[0] * frames.time, before[1] * frames.space, before[2] * frames.space
    longest = max(loaded.config.data.frames) // frames.time * frames.time
    if not longest:
        raise UserError(f"{loaded.root} makes fewer frames than frames.time={frames.time}: train with more data.frames")
    windows = cut(grid[0], grid[0] if loaded.config.sample.joined else longest, frames.time)
    return Taking(f"every frame, {frames.space}x the px and {frames.time}x the frames", grid, windows, 0, frames.time)


def _guided(loaded: Loaded, before: Grid) -> Taking:
    """By reconstruction guidance: a model that was given nothing in training makes the video larger. A window is given
    the last frames of the one before it as well.
    """
    if loaded.config.sample.known != "guidance":
        raise _takes_nothing(loaded)
    space = max(max(height for height, _ in map(size_px, loaded.config.data.sizes)) // before[1], 1)
    _check_size(loaded, before, space)
    if space < 2 or not isinstance(loaded.autoencoder, Pixels):
        raise UserError(
            f"{loaded.root} is guided by smaller videos, in pixels: behind videos of {before[1]}x{before[2]} px choose"
            " a model of larger ones with autoencoder.kind=pixels, or one that was trained with conditioning.frames"
        )
    grid, longest = (before[0], before[1] * space, before[2] * space), max(loaded.config.data.frames)
    shared = context_of(loaded, longest // loaded.autoencoder.time_factor) * loaded.autoencoder.time_factor
    windows = cut(before[0], longest, 1, shared if before[0] > longest else 0)
    return Taking(f"every frame, guided by it at {space}x the px", grid, windows, 0, 1)


def _interpolation(loaded: Loaded, every: int, before: Grid) -> Taking:
    if before[0] < 2:
        raise UserError(f"{loaded.root} makes frames between frames, and the videos before it have one")
    most = (max(loaded.config.data.frames) - 1) // every + 1
    windows = meeting(before[0], most, every)
    return Taking(f"one frame in {every}", ((before[0] - 1) * every + 1, *before[1:]), windows, every, every)


def _latents(loaded: Loaded, every: int, before: Grid) -> Taking:
    """A latent is of several frames, and of as many a second as those of the stage before: they stay where they are."""
    longest = max(loaded.config.data.frames)
    latents, window = (loaded.autoencoder.latent_grid((n, *before[1:]))[0] for n in (before[0], longest))
    per, keys = before[0] // latents, (latents - 1) // every + 1
    if (latents - 1) % every or keys < 2:
        fits = per * (max(keys, 1) * every + 1)
        raise UserError(
            f"{loaded.root} keeps one latent in {every} of {per} frames, both ends among them: it takes no videos of"
            f" {before[0]} frames, the next is {fits}; choose --extend or --frames of the first stage so"
        )
    windows = [
        Window(*(per * number for number in (w.begin, w.frames, w.begin, w.frames)))
        for w in meeting(keys, (window - 1) // every + 1, every)
    ]
    return Taking(f"one latent of {per} frames in {every}", before, windows, 0, 1, every)


def _first(loaded: Loaded, before: Grid) -> Taking:
    frames = max(loaded.config.data.frames)
    if not loaded.autoencoder.first_frame_alone:
        raise UserError(f"{loaded.root} has no latents of single frames: it cannot be given one of the stage before it")
    return Taking("the first frame", (frames, *before[1:]), [Window(0, frames, 0, 1)], frames, 0)


def _every(loaded: Loaded, frames: FramesConfig) -> int:
    """Frames from one that is given to the next; 0 for a model that makes nothing between frames."""
    longest = max(loaded.config.data.frames)
    if frames.given != "masks" or not frames.every + frames.interpolation:
        return 0
    latents = loaded.autoencoder.latent_grid((longest, *size_px(loaded.config.data.sizes[0])))[0]
    if latents != longest and not loaded.autoencoder.given_as_latents:
        raise UserError(f"{loaded.root} has no latents of single frames: it cannot be given those of the stage before")
    return frames.every_nth if frames.every else latents - 1


def meeting(given: int, most: int, every: int) -> list[Window]:
    """Windows of up to `most` given frames, `every` frames apart, that meet in one that both are given; the last begins
    earlier, to be as long as the others.
    """
    steps = min(most, given) - 1
    begins = [*range(0, given - 1 - steps, steps), given - 1 - steps]
    return [Window(begin * every, steps * every + 1, begin, steps + 1) for begin in begins]


def cut(frames: int, longest: int, step: int, shared: int = 0) -> list[Window]:
    """One behind the other, but for `shared` frames; the last begins earlier, to be as long as the others. step: frames
    per frame before.
    """
    if frames <= longest:
        return [Window(0, frames, 0, frames // step)]
    begins = [*range(0, frames - longest, longest - shared), frames - longest]
    return [Window(begin, longest, begin // step, longest // step) for begin in begins]


def _check_size(loaded: Loaded, before: Grid, space: int) -> None:
    """Raises UserError where the model was trained on no size that comes of the videos before it."""
    sizes = loaded.config.data.sizes
    if f"{before[1] * space}x{before[2] * space}" not in sizes:
        fits = ", ".join(f"{height // space}x{width // space}" for height, width in map(size_px, sizes))
        raise UserError(
            f"{loaded.root} makes videos of {', '.join(sizes)} px, of ones of {fits} px, and not of"
            f" {before[1]}x{before[2]}: choose another checkpoint, or --size for the first"
        )
