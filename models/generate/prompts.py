"""What the videos to sample are conditioned on: asked for, or drawn from what the training clips were conditioned
on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from clipmill.curate.common.memory import check_unpacked
from clipmill.curate.errors import UserError
from clipmill.models.checkpoints.conditions import TRAINED_ON
from clipmill.models.core.keyed import keyed_rng


@dataclass(frozen=True)
class Prompt:
    """One video to make. caption: "" for none. numbers: column -> value, NaN for unknown. first, last: uint8 [3, H, W],
    the frames to begin and to end with. video: uint8 [T, 3, H, W], what is edited. before: id of the video that another
    model made for it, "" for none. reference: uint8 [3, H, W], a picture of what it shall show. seed: of all videos.
    """

    index: int
    caption: str
    label: str | None
    numbers: Mapping[str, float]
    first: torch.Tensor | None = None
    last: torch.Tensor | None = None
    video: torch.Tensor | None = None
    before: str = ""
    reference: torch.Tensor | None = None
    seed: int = 0


@dataclass(frozen=True)
class Wishes:
    """What was asked for, for all videos. captions: by turns. label, numbers: see `Prompt`."""

    captions: Sequence[str] = ()
    label: str | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)


def draw_prompts(root: Path, count: int, seed: int, wishes: Wishes, reads_text: bool) -> list[Prompt]:
    """`count` prompts. What is not asked for comes from a training clip, the same for a seed and number.

    reads_text: whether the model does; captions of the training clips have no part in what another one makes. Raises
    UserError for captions and numbers that the model was not trained with.
    """
    if any(wishes.captions) and not reads_text:
        raise UserError("this model is not conditioned on text: leave --caption and --captions out")
    trained = _trained_on(root)
    known = [name.removeprefix("number_") for name in (trained[0] if trained else {}) if name.startswith("number_")]
    unknown = [name for name in wishes.numbers if name not in known]
    if unknown:
        raise UserError(f"this model is not conditioned on {unknown[0]!r}; it knows {', '.join(known) or 'no numbers'}")
    made = (_prompt(index, trained, seed, wishes) for index in range(count))
    return [prompt if reads_text else replace(prompt, caption="") for prompt in made]


def _prompt(index: int, trained: list[dict[str, Any]], seed: int, wishes: Wishes) -> Prompt:
    # The word is part of the key: another one would draw other conditions for the same seed.
    row = trained[int(keyed_rng(seed, "wish", "", index).integers(len(trained)))] if trained else {}
    own = {name.removeprefix("number_"): float(value) for name, value in row.items() if name.startswith("number_")}
    captions = wishes.captions
    caption = captions[index % len(captions)] if captions else str(row.get("caption") or "")
    label = wishes.label if wishes.label is not None else row.get("label")
    return Prompt(index, caption, label, own | dict(wishes.numbers), seed=seed)


def _trained_on(root: Path) -> list[dict[str, Any]]:
    path = root / TRAINED_ON
    if not path.is_file():
        return []
    check_unpacked(path)
    return pq.read_table(path).to_pylist()
