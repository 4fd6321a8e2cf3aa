"""Class labels out of a column of the manifest."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from clipmill.curate.errors import UserError, closest
from clipmill.models.layers.embeddings import UNIT_SCALE_STD

if TYPE_CHECKING:
    import pandas as pd

NO_CLASS = 0
_LISTED = 32


def class_names_of(table: "pd.DataFrame", column: str) -> tuple[str, ...]:
    """The labels that a column holds, sorted. Raises UserError where the column is missing or holds none."""
    if column not in table:
        raise UserError(
            f"the manifest has no column {column!r} to take classes from: set conditioning.classes.column to another"
        )
    names = sorted({str(value) for value in table[column].dropna()})
    if not names:
        raise UserError(f"the column {column!r} holds no label: set conditioning.classes.column to another")
    return tuple(names)


def class_numbers(labels: Sequence[str | None], names: Sequence[str]) -> torch.Tensor:
    """int64 [B]: k + 1 for names[k], 0 for None. Raises UserError for a label that training did not see."""
    number_of = {name: number for number, name in enumerate(names, NO_CLASS + 1)}
    for label in labels:
        if label is not None and label not in number_of:
            others = (
                closest(label, names)
                if len(names) <= _LISTED
                else f"; it knows {len(names)} others, such as {names[0]!r}"
            )
            raise UserError(f"this model knows no class {label!r}{others}")
    return torch.tensor([NO_CLASS if label is None else number_of[label] for label in labels], dtype=torch.int64)


class ClassEmbedding(nn.Embedding):
    """int64 [B] as of `class_numbers` -> float [B, dim], learned, row 0 for samples without a class (2207.12598).
    Starts at the scale of sinusoids, beside which it is put.
    """

    def __init__(self, classes: int, dim: int) -> None:
        super().__init__(classes + 1, dim)
        nn.init.normal_(self.weight, std=UNIT_SCALE_STD)
