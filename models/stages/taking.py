"""How a stage takes the videos of the stage before it: what it is given of them, and window by window."""

from collections.abc import Sequence
from dataclasses import dataclass

from clipmill.curate.errors import UserError
from clipmill.models.conditioning.config import FramesConfig
from clipmill.models.conditioning.observation import check_observed
from clipmill.models.generate.loading import Loaded
from clipmill.models.layers.plan import Grid
from clipmill.models.settings.training import size_px


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
    """

    gets: str
    grid: Grid
    windows: Sequence[Window]
    kept: int
    rate: int


def taking_of(loaded: Loaded, before: Grid) -> Taking:
    """before: of the videos before. Raises UserError for a checkpoint that does not fit behind them."""
    frames = loaded.config.conditioning.frames
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
    if every:
        return _interpolation(loaded, every, before)
    if frames.given == "first" or (frames.given == "masks" and frames.prediction + frames.random + frames.past_future):
        return _first(loaded, before)
    raise UserError(
        f"{loaded.root} takes nothing of the videos before it: train it with conditioning.frames.given=low, structure,"
        " first or masks, or leave --then out"
    )


def _low(loaded: Loaded, frames: FramesConfig, before: Grid) -> Taking:
    _check_size(loaded, before, frames.space)
    grid = before[0] * frames.time, before[1] * frames.space, before[2] * frames.space
    longest = max(loaded.config.data.frames) // frames.time * frames.time
    if not longest:
        raise UserError(f"{loaded.root} makes fewer frames than frames.time={frames.time}: train with more data.frames")
    windows = cut(grid[0], longest, frames.time)
    return Taking(f"every frame, {frames.space}x the px and {frames.time}x the frames", grid, windows, 0, frames.time)


def _interpolation(loaded: Loaded, every: int, before: Grid) -> Taking:
    if before[0] < 2:
        raise UserError(f"{loaded.root} makes frames between frames, and the videos before it have one")
    most = (max(loaded.config.data.frames) - 1) // every + 1
    windows = meeting(before[0], most, every)
    return Taking(f"one frame in {every}", ((before[0] - 1) * every + 1, *before[1:]), windows, every, every)


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
    if loaded.autoencoder.latent_grid((longest, *size_px(loaded.config.data.sizes[0])))[0] != longest:
        raise UserError(f"{loaded.root} has no latents of single frames: it cannot be given those of the stage before")
    return frames.every_nth if frames.every else longest - 1


def meeting(given: int, most: int, every: int) -> list[Window]:
    """Windows of up to `most` given frames, `every` frames apart, that meet in one that both are given; the last begins
    earlier, to be as long as the others.
    """
    steps = min(most, given) - 1
    begins = [*range(0, given - 1 - steps, steps), given - 1 - steps]
    return [Window(begin * every, steps * every + 1, begin, steps + 1) for begin in begins]


def cut(frames: int, longest: int, step: int) -> list[Window]:
    """One behind the other; the last begins earlier, to be as long as the others. step: frames per frame before."""
    if frames <= longest:
        return [Window(0, frames, 0, frames // step)]
    begins = [*range(0, frames - longest, longest), frames - longest]
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
