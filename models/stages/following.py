"""A stage that makes its videos of those of the stage before it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.conditions import beginning_with, conditions_of, given_of
from clipmill.models.generate.given import Given
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


def made_of(taking: Taking, folder: Path) -> Make:
    """folder: of the videos of the stage before."""

    def make(generator: Generator, some: Sequence[Prompt], noise: SampleNoise) -> torch.Tensor:
        before = torch.stack([frames_of(folder / name_of(prompt)) for prompt in some])
        parts, there = [], 0
        for number, window in enumerate(taking.windows):
            seen = before[:, window.source : window.source + window.sources]
            # Where all frames have the same noise, so have those of all windows.
            alike = generator.diffusion.noise_of(noise).alike
            own = noise.of_part(f"window {number}") if number and not alike else noise
            video = _window(generator, some, own, taking, (window.frames, *taking.grid[1:]), seen)
            parts.append(video[:, there - window.begin :])
            there = window.begin + window.frames
        return torch.cat(parts, dim=1)

    return make


def _window(
    generator: Generator, some: Sequence[Prompt], noise: SampleNoise, taking: Taking, grid: Grid, seen: torch.Tensor
) -> torch.Tensor:
    """uint8 [B, T, 3, H, W] of `grid`, with the frames of the stage before that are kept, as they were."""
    latent_grid, given = generator.autoencoder.latent_grid(grid), _given(generator, taking, grid, seen)
    conditions = conditions_of(generator, beginning_with(some, seen[:, 0]), latent_grid)
    video = generator.videos(latent_grid, conditions, noise, given)
    if taking.kept:
        video[:, :: taking.kept] = seen
    return video


def _given(generator: Generator, taking: Taking, grid: Grid, seen: torch.Tensor) -> Given | None:
    if taking.kept:
        return given_of(generator, {taking.kept * place: seen[:, place] for place in range(seen.shape[1])})
    config = generator.network.conditioner.config.frames
    return generator.observed(seen) if config.given == "structure" else generator.enlarged(seen, grid)
