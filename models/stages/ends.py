"""What a folder's videos are told beside conditions: pictures, or a video that is edited."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from clipmill.models.generate.pictures import Pictures, pictures_at
from clipmill.models.generate.prompts import Prompt
from clipmill.models.layers.plan import Grid
from clipmill.models.stages.facts import given_facts
from clipmill.models.stages.request import Request

Draw = Callable[[int], list[Prompt]]


@dataclass(frozen=True)
class Told:
    """prompts: the first so many, with what they are given. facts: of it. notes: what was changed, for the user."""

    prompts: Draw
    facts: dict[str, Any]
    notes: Sequence[str] = ()


def with_pictures(drawn: Draw, request: Request, window: Grid) -> Told:
    """First, last and reference pictures, by turns. Raises UserError where there is none at a path."""
    asked = {"first": request.first, "last": request.last, "reference": request.reference}
    there = {name: path for name, path in asked.items() if path is not None}
    found = {name: pictures_at(path, *window[1:]) for name, path in there.items()}
    facts = dict[str, Any]()
    for name, pictures in found.items():
        facts |= given_facts(name, there[name], pictures.pixels)
    # What was given stands in the video as it was given, not as the model made it: so it was not always.
    facts |= {"given": "kept"} if found.keys() & {"first", "last"} else {}

    def turn(name: str, index: int) -> torch.Tensor | None:
        return found[name].pixels[index % len(found[name].pixels)] if name in found else None

    def told(prompt: Prompt) -> Prompt:
        first, last, reference = (turn(name, prompt.index) for name in asked)
        return replace(prompt, first=first, last=last, reference=reference)

    notes = [note for name, pictures in found.items() for note in _notes(there[name], pictures, window)]
    return Told(lambda count: [told(prompt) for prompt in drawn(count)], facts, notes)


def _notes(path: Path, pictures: Pictures, window: Grid) -> list[str]:
    cropped = crop_notes(path, pictures.cropped, len(pictures.pixels), "pictures", window)
    return [f"{path}: files that hold no picture and no video: {pictures.others}"] * bool(pictures.others) + cropped


def crop_notes(path: Path, cropped: int, count: int, what: str, window: Grid) -> list[str]:
    """A line where some were cropped."""
    if not cropped:
        return []
    return [f"{path}: {cropped} of {count} {what} of another shape, cropped in the middle to {window[1]}x{window[2]}"]
