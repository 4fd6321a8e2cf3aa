"""What is to be made of one checkpoint, all decided, before anything is made."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.loading import Loaded
from clipmill.models.generate.prompts import Prompt
from clipmill.models.generate.sampling import Generator
from clipmill.models.layers.plan import Grid

# What a batch of prompts becomes: uint8 [B, T, 3, H, W] on the CPU.
Make = Callable[[Generator, Sequence[Prompt], SampleNoise], torch.Tensor]


@dataclass(frozen=True)
class Work:
    """count: videos. grid: (frames, height px, width px) of each. prompts: of the first so many. facts: what decides
    the videos but for their number. lossless: written so that every bit comes back, which another model is given.
    notes: lines for the user, about what was changed.
    """

    loaded: Loaded
    count: int
    noise: SampleNoise
    grid: Grid
    fps: float
    prompts: Callable[[int], list[Prompt]]
    make: Make
    facts: dict[str, Any]
    lossless: bool = False
    notes: Sequence[str] = ()

    def noise_of(self, some: Sequence[Prompt]) -> SampleNoise:
        """Of these videos."""
        return SampleNoise(self.noise.seed, [prompt.index for prompt in some], self.noise.part)
