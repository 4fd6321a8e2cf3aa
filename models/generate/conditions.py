"""From prompts to what a generator takes: conditions, and frames that are given."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from clipmill.models.conditioning.conditioner import Conditioner
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.generate.given import Given
from clipmill.models.generate.prior import imagined
from clipmill.models.generate.prompts import Prompt
from clipmill.models.generate.sampling import Generator
from clipmill.models.layers.plan import Grid


def conditions_of(generator: Generator, wanted: Sequence[Prompt], latent_grid: Grid) -> Conditions:
    """On the generator's device, without given frames."""
    conditioner = generator.network.conditioner
    names = list(wanted[0].numbers)
    numbers = {name: torch.tensor([prompt.numbers[name] for prompt in wanted], dtype=torch.float32) for name in names}
    alone = generator.network.knows_images and latent_grid[0] == 1
    independent = torch.ones(len(wanted), 1, dtype=torch.bool) if alone else None
    if conditioner.config.motion_drop and not alone:  # motion is a condition, which guidance takes away
        independent = torch.zeros(len(wanted), latent_grid[0], dtype=torch.bool)
    made = conditioner.conditions([w.caption for w in wanted], numbers, [w.label for w in wanted], independent)
    pictures = _shown(conditioner, wanted)
    made = conditioner.with_reference(made, torch.stack(pictures)) if pictures else made
    if not pictures and generator.prior is not None:
        made = replace(made, reference=imagined(generator.prior, wanted).float())
    return made.map(lambda tensor: tensor.to(generator.device))


def _shown(conditioner: Conditioner, wanted: Sequence[Prompt]) -> list[torch.Tensor]:
    """The picture of each, or none: that asked for, else the first frame, where that was the picture in training."""
    first = conditioner.reference_encoder is not None and conditioner.config.reference.frame == "first"
    found = [prompt.first if first and prompt.reference is None else prompt.reference for prompt in wanted]
    return [picture for picture in found if picture is not None]


def beginning_with(wanted: Sequence[Prompt], frames: torch.Tensor) -> list[Prompt]:
    """The same, of a window that begins with frames uint8 [B, 3, H, W] of another one, one each."""
    return [replace(prompt, first=frame) for prompt, frame in zip(wanted, frames, strict=True)]


def pictures_of(wanted: Sequence[Prompt]) -> dict[int, torch.Tensor]:
    """Place, 0 or -1 -> uint8 [B, 3, H, W]: the pictures that the videos begin and end with."""
    ends = {0: [prompt.first for prompt in wanted], -1: [prompt.last for prompt in wanted]}
    return {place: torch.stack(found) for place, all_ in ends.items() if (found := [p for p in all_ if p is not None])}


def given_of(generator: Generator, pictures: dict[int, torch.Tensor]) -> Given | None:
    """place -> uint8 [B, 3, H, W]: each as the latent of a picture; None where there is none."""
    if not pictures:
        return None
    latents = [generator.encoded(picture[:, None]) for picture in pictures.values()]
    return Given(torch.cat(latents, dim=1), tuple(pictures))


def with_pictures(video: torch.Tensor, pictures: dict[int, torch.Tensor]) -> torch.Tensor:
    """uint8 [B, T, 3, H, W] with what was given in its place, as it was given: latents are not exact."""
    for place, picture in pictures.items():
        video[:, place] = picture
    return video
