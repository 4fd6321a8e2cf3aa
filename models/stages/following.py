"""A stage that makes its videos of those of the stage before it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.conditions import beginning_with, conditions_of, given_of
from clipmill.models.generate.given import Given
from clipmill.models.generate.guided import Small
from clipmill.models.generate.loading import Loaded
from clipmill.models.generate.prompts import Prompt, Wishes, draw_prompts
from clipmill.models.generate.sampling import Generator
from clipmill.models.layers.plan import Grid
from clipmill.models.stages.facts import before_sha256, clip_id, facts_of, made_by
from clipmill.models.stages.plan import check_length, check_memory, fps_of
from clipmill.models.stages.request import Request
from clipmill.models.stages.sample_folder import frames_of, name_of
from clipmill.models.stages.taking import Taking, taking_of
from clipmill.models.stages.work import Make, Work

# Of the clip as it was before this stage.
_OWN_NUMBERS = ("fps", "aspect")


def following(before: Work, folder: Path, loaded: Loaded, number: int) -> Work:
    """folder: where the videos before are going to lie. number: of this stage, 1 for the first after another. Raises
    UserError for a checkpoint that does not fit there.
    """
    taking = taking_of(loaded, before.grid)
    for window in {window.frames for window in taking.windows}:
        check_length(loaded, (window, *taking.grid[1:]))
    check_memory(loaded, before.count, (taking.windows[0].frames, *taking.grid[1:]), taking.grid[0])
    request = Request(before.count, before.noise.seed)
    facts = facts_of(loaded, request, taking.grid)
    facts |= {"stage": number, "gets": taking.gets, "before": before_sha256(before.facts)}
    noise = SampleNoise(before.noise.seed, (), f"stage {number}, ")
    fps = before.fps * taking.rate if taking.rate else fps_of(loaded)
    return Work(loaded, before.count, noise, taking.grid, fps, _prompts(before, loaded), made_of(taking, folder), facts)


def _prompts(before: Work, loaded: Loaded) -> Callable[[int], list[Prompt]]:
    """As those before, as far as this model reads what they say."""
    conditioner, made = loaded.network.conditioner, made_by(before.facts)
    reads_text, names = loaded.reads_text, conditioner.config.classes.names

    def prompt(own: Prompt, earlier: Prompt) -> Prompt:
        label = earlier.label if earlier.label in names else own.label
        told = {name: value for name, value in earlier.numbers.items() if name not in _OWN_NUMBERS}
        numbers = {name: told.get(name, value) for name, value in own.numbers.items()}
        caption = earlier.caption if reads_text else ""
        return replace(own, caption=caption, label=label, numbers=numbers, before=clip_id(made, earlier))

    def prompts(count: int) -> list[Prompt]:
        drawn = draw_prompts(loaded.root, count, before.noise.seed, Wishes(), reads_text)
        return [prompt(own, earlier) for own, earlier in zip(drawn, before.prompts(count), strict=False)]

    return prompts


@dataclass(frozen=True)
class _Seen:
    """What a window is made of. grid: its own. before: uint8 [B, T', 3, h, w], of the stage before. made: uint8 [B, n,
    3, H, W], its first frames, which the window before it has made, or None.
    """

    grid: Grid
    before: torch.Tensor
    made: torch.Tensor | None


def made_of(taking: Taking, folder: Path) -> Make:
    """folder: of the videos of the stage before."""

    def make(generator: Generator, some: Sequence[Prompt], noise: SampleNoise) -> torch.Tensor:
        before = torch.stack([frames_of(folder / name_of(prompt)) for prompt in some])
        parts, there = list[torch.Tensor](), 0
        for number, window in enumerate(taking.windows):
            grid, again = (window.frames, *taking.grid[1:]), there - window.begin
            made = torch.cat(parts, dim=1)[:, -again:] if again else None
            seen = _Seen(grid, before[:, window.source : window.source + window.sources], made)
            # Where all frames have the same noise, so have those of all windows.
            alike = generator.diffusion.noise_of(noise).alike
            own = noise.of_part(f"window {number}") if number and not alike else noise
            parts.append(_window(generator, some, own, taking, seen)[:, again:])
            there = window.begin + window.frames
        return torch.cat(parts, dim=1)

    return make


def _window(
    generator: Generator, some: Sequence[Prompt], noise: SampleNoise, taking: Taking, seen: _Seen
) -> torch.Tensor:
    """uint8 [B, T, 3, H, W], with the frames of the stage before that are kept, as they were."""
    latent_grid, given = generator.autoencoder.latent_grid(seen.grid), _given(generator, taking, seen)
    conditions = conditions_of(generator, beginning_with(some, seen.before[:, 0]), latent_grid)
    z = generator.latents(latent_grid, conditions, noise, given)
    # The model may have been shown them with noise.
    z = given.known(latent_grid[0]).put_into(z) if given and taking.latents else z
    video = generator.decoded(z)
    if taking.kept:
        video[:, :: taking.kept] = seen.before
    return video


def _given(generator: Generator, taking: Taking, seen: _Seen) -> Given | None:
    before, config = seen.before, generator.network.conditioner.config.frames
    if taking.kept:
        return given_of(generator, {taking.kept * place: before[:, place] for place in range(before.shape[1])})
    if taking.latents:
        keys = generator.encoded(before)[:, :: taking.latents]
        return Given(keys, [taking.latents * place for place in range(keys.shape[1])])
    if config.given == "none":
        return _guiding(generator, seen)
    return generator.observed(before) if config.given == "structure" else generator.enlarged(before, seen.grid)


def _guiding(generator: Generator, seen: _Seen) -> Given:
    """All of the window at fewer pixels, and its first frames, as far as they are whole latents."""
    small = Small.of_bytes(
        seen.before.to(generator.device), seen.grid[1] // seen.before.shape[3], generator.autoencoder
    )
    frames = seen.grid[0] // generator.autoencoder.latent_grid(seen.grid)[0]
    whole = 0 if seen.made is None else seen.made.shape[1] // frames * frames
    if seen.made is None or not whole:
        return Given(small.video.new_zeros(len(small.video), 0, 1, 1, 1), (), small)
    latents = generator.encoded(seen.made[:, :whole])
    return Given(latents, range(latents.shape[1]), small)
