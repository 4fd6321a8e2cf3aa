"""`--edit`: a video is followed back to the noise it would have come from, by DDIM inversion under what it shows, and
made again from there under what it shall show (Tune-A-Video, 2212.11565).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path

import torch

from clipmill.curate.errors import UserError
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.conditions import conditions_of
from clipmill.models.generate.given import Given
from clipmill.models.generate.loading import Loaded
from clipmill.models.generate.pictures import Windows
from clipmill.models.generate.prompts import Prompt
from clipmill.models.generate.sampling import Generator
from clipmill.models.layers.plan import Grid
from clipmill.models.stages.ends import crop_notes
from clipmill.models.stages.request import Request
from clipmill.models.stages.work import Make


@dataclass(frozen=True)
class Edits:
    """Each window of the videos at a path under each caption, window after window. windows: the first so many."""

    windows: Callable[[int], Windows]
    request: Request

    def prompts(self, drawn: Callable[[int], list[Prompt]]) -> Callable[[int], list[Prompt]]:
        """What is not asked for is unknown: another clip's label and numbers would change the video."""
        asked = dict(self.request.numbers)

        def edits(count: int) -> list[Prompt]:
            pixels = self.windows(self._needed(count)).pixels
            return [edit(prompt, pixels) for prompt in drawn(min(count, len(pixels) * self._each))]

        def edit(prompt: Prompt, pixels: Sequence[torch.Tensor]) -> Prompt:
            numbers = {name: asked.get(name, nan) for name in prompt.numbers}
            return replace(prompt, label=self.request.label, numbers=numbers, video=pixels[prompt.index // self._each])

        return edits

    @property
    def count(self) -> int:
        """How many videos are made: as many as asked for, where there are so many windows."""
        there = len(self.windows(self._needed(self.request.count)).pixels)
        return min(self.request.count, there * self._each)

    def notes(self, path: Path, window: Grid) -> list[str]:
        """Lines for the user: fewer videos than asked for, and what was cropped."""
        found = self.windows(self._needed(self.request.count))
        few = f"{path} has {len(found.pixels)} windows of {window[0]} frames: {self.count} videos"
        cropped = crop_notes(path, found.cropped, len(found.pixels), "windows", window)
        return ([few] if self.count < self.request.count else []) + cropped

    @property
    def key(self) -> str:
        """See `Windows`."""
        return self.windows(self._needed(self.request.count)).key

    @property
    def _each(self) -> int:
        return max(1, len(self.request.captions))

    def _needed(self, count: int) -> int:
        return -(-count // self._each)


def edited(source_caption: str) -> Make:
    """source_caption: what the videos show; "" for none."""

    def make(generator: Generator, some: Sequence[Prompt], noise: SampleNoise) -> torch.Tensor:
        z = generator.encoded(torch.stack([prompt.video for prompt in some if prompt.video is not None]))
        grid, given = (z.shape[1], z.shape[3], z.shape[4]), _given(generator, some, z)
        shown = [replace(p, caption=source_caption, label=None, numbers=dict.fromkeys(p.numbers, nan)) for p in some]
        start = None
        if generator.config.inversion:
            start = generator.inverted(z, conditions_of(generator, shown, grid), noise, given)
        return generator.decoded(generator.latents(grid, conditions_of(generator, some, grid), noise, given, start))

    return make


def check_edit(loaded: Loaded, request: Request) -> None:
    """Raises UserError where nothing is said to be changed, or what cannot be turned back is asked for."""
    sampling, reads_text = loaded.config.sample, loaded.reads_text
    for name in ("first", "last", "extend", "extend_before"):
        if getattr(request, name) is not None:
            raise UserError(f"--edit changes a video that is there: leave --{name.replace('_', '-')} out")
    if request.reference is not None and sampling.inversion:
        raise UserError(
            "--edit turns the video back without a picture of its own: leave --reference out, or set sample.inversion=0"
        )
    if not sampling.inversion:
        if not loaded.config.conditioning.frames.needs_pixels:
            raise UserError("sample.inversion=0 leaves nothing of the video to a model that is not given its structure")
        return
    if reads_text and not request.captions:
        raise UserError("--edit needs --caption TEXT, what the video shall show")
    if not reads_text and request.label is None and not request.numbers:
        raise UserError("this model reads no text: say with --label or --number what --edit shall change")
    if not reads_text and request.source_caption is not None:
        raise UserError("this model is not conditioned on text: leave --source-caption out")
    if sampling.zero_shot.motion is not None:
        raise UserError(
            "sample.zero_shot.motion begins at noise, not at a video: set sample.inversion=0, or leave it out"
        )
    if sampling.sampler != "ddim":
        raise UserError(f"--edit turns DDIM back, not {sampling.sampler}: set sample.sampler=ddim")
    if sampling.steps < 2:
        raise UserError("--edit turns DDIM back in two steps or more: set sample.steps")


def _given(generator: Generator, some: Sequence[Prompt], z: torch.Tensor) -> Given | None:
    """What the model is always given comes from the video itself."""
    frames = generator.network.conditioner.config.frames
    if frames.needs_pixels:
        return generator.observed(torch.stack([prompt.video for prompt in some if prompt.video is not None]))
    return Given(z[:, :1], (0,)) if frames.given == "first" else None
