"""What a column is: the type of its values, and what they mean."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa


@dataclass(frozen=True)
class Column:
    """type: of the values, as Arrow calls it. doc: one line with unit and range; run.json, the report, data cards and
    docs/columns.md show it.
    """

    type: pa.DataType
    doc: str


def types(columns: Mapping[str, Column]) -> list[tuple[str, pa.DataType]]:
    """(name, type) of each column, for a schema."""
    return [(name, column.type) for name, column in columns.items()]


def docs(columns: Mapping[str, Column]) -> dict[str, str]:
    """name -> doc."""
    return {name: column.doc for name, column in columns.items()}
