"""Scores with everything that made them: rows of a Parquet file, and the question whether two of them may be
compared.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clipmill.curate.common.files import fingerprint, parse_json, write_atomic
from clipmill.curate.common.lock import in_turn
from clipmill.curate.common.memory import check_unpacked
from clipmill.curate.errors import UserError, one_line

SCHEMA = pa.schema(
    [
        ("metric", pa.string()),
        ("title", pa.string()),
        ("value", pa.float64()),
        ("standard_error", pa.float64()),
        ("unit", pa.string()),
        ("real", pa.string()),
        ("fake", pa.string()),
        ("n_real", pa.int64()),
        ("n_fake", pa.int64()),
        ("n_skipped", pa.int64()),
        ("protocol", pa.string()),
        ("fingerprint", pa.string()),
        ("real_ids", pa.string()),
        ("fake_ids", pa.string()),
        ("details", pa.string()),
        ("facts", pa.string()),
        ("warnings", pa.list_(pa.string())),
        ("skipped", pa.list_(pa.string())),
        ("created_at", pa.string()),
        ("real_from", pa.string()),
        ("fake_from", pa.string()),
        ("command", pa.string()),
    ]
)
_JSON = ("details", "facts", "real_from", "fake_from")


@dataclass(frozen=True)
class ScoreRow:
    """One number. facts: every field that decides it besides the fake videos; rows with equal facts may be compared.

    standard_error: None where none can be given. details: further numbers of the same computation. skipped: clips that
    gave nothing, with the reason. real_from, fake_from: where the sets came from
    (`clipmill.evaluate.sets.VideoSet.origin`), the checkpoint of samples included.
    command: as typed, "" where none was.
    """

    metric: str
    title: str
    value: float
    standard_error: float | None
    unit: str
    real: str
    fake: str
    n_real: int
    n_fake: int
    protocol: str
    facts: Mapping[str, Any]
    real_ids: str
    fake_ids: str
    details: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    created_at: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    real_from: Mapping[str, Any] = field(default_factory=dict)
    fake_from: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""

    @property
    def fingerprint(self) -> str:
        """Of the facts: equal where two numbers may be compared."""
        return fingerprint(self.facts)

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        error = "" if self.standard_error is None else f" ± {self.standard_error:.2g}"
        return f"{self.title} {self.value:.6g}{error}{' ' + self.unit if self.unit else ''}"


def append(path: Path, rows: Sequence[ScoreRow]) -> None:
    """Add rows to a Parquet file, which is made where it is not there; one after another where several commands do.
    Raises UserError where it is no file of scores.
    """
    new = pa.Table.from_pylist([_record(row) for row in rows], schema=SCHEMA)
    path.parent.mkdir(parents=True, exist_ok=True)
    with in_turn(path):
        write_atomic(path, pa.concat_tables([_table(path), new]) if path.exists() else new, synced=True)


def _record(row: ScoreRow) -> dict[str, Any]:
    record = asdict(row) | {"fingerprint": row.fingerprint, "n_skipped": len(row.skipped)}
    return record | {name: json.dumps(getattr(row, name), sort_keys=name != "details", default=dict) for name in _JSON}


def _table(path: Path) -> pa.Table:
    check_unpacked(path)
    try:
        table = pq.read_table(path)
        for name, nothing in (
            ("real_from", "{}"),
            ("fake_from", "{}"),
            ("command", ""),
        ):  # files of an earlier version do not have them
            if name not in table.column_names:
                table = table.append_column(name, pa.array([nothing] * len(table), pa.string()))
        return table.select(SCHEMA.names).cast(SCHEMA)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} is no file of scores: {one_line(error, 200)}") from error


def read(path: Path) -> list[ScoreRow]:
    """The rows of a file of scores. Raises UserError where it is none."""
    if path.is_dir():
        raise UserError(f"{path} is a folder, not a file of scores")
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    rows = []
    records: list[dict[str, Any]] = _table(path).to_pylist()
    for record in records:
        for name in ("fingerprint", "n_skipped"):
            del record[name]
        record |= {name: parse_json(record[name]) for name in _JSON}
        record |= {name: tuple(record[name]) for name in ("warnings", "skipped")}
        rows.append(ScoreRow(**record))
    return rows


def differing_fields(first: Mapping[str, Any], second: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Fields whose values differ, nested ones with dots: `protocol.resize: bilinear | tf1-bilinear`."""
    found = []
    for name in sorted({*first, *second}):
        a, b = first.get(name), second.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differing_fields(a, b, f"{prefix}{name}.")
        elif a != b:
            found.append(f"{prefix}{name}: {a} | {b}")
    return found


def comparable_groups(rows: Sequence[ScoreRow]) -> list[list[ScoreRow]]:
    """Rows of one metric and one fingerprint together, in the order of their first row."""
    groups: dict[tuple[str, str], list[ScoreRow]] = {}
    for row in rows:
        groups.setdefault((row.metric, row.fingerprint), []).append(row)
    return list(groups.values())


def measured_once(rows: Sequence[ScoreRow]) -> list[tuple[ScoreRow, int]]:
    """Each measurement once, its last row, and how often it was made: of one set, in one way, with one result."""
    same: dict[tuple[str, ...], list[ScoreRow]] = {}
    for row in rows:
        same.setdefault((row.fingerprint, row.fake, row.fake_ids, f"{row.value:.6g}"), []).append(row)
    return [(several[-1], len(several)) for several in same.values()]
