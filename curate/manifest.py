"""The run directory: where each table lies, atomic part files that are their own resume markers, and reading them back.

A part is `<table>/<unit>-<fingerprint>.parquet`: one source video's rows, and the fingerprint of what made them. It is
written as `.tmp` and renamed, so it is there whole or not at all.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clipmill.curate.errors import UserError

_MAGIC = b"PAR1"


def fingerprint(facts: Mapping[str, Any]) -> str:
    """12 hex digits over the canonical JSON of what decides a result."""
    text = json.dumps(facts, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class RunDir:
    """Paths of a run directory."""

    root: Path

    @property
    def manifest(self) -> Path:
        """One row per clip, with the columns of all annotators and the decision of the run's own policy."""
        return self.root / "manifest.parquet"

    @property
    def videos(self) -> Path:
        """One row per input file of the last run, unreadable files and copies included."""
        return self.root / "videos.parquet"

    @property
    def run_json(self) -> Path:
        """What made the run and what came of it: command, config, versions, counts, columns."""
        return self.root / "run.json"

    @property
    def events(self) -> Path:
        """One JSON object per line, appended whenever a unit of work has ended."""
        return self.root / "run.jsonl"

    @property
    def shards(self) -> Path:
        """Folder of the exported clips and their index."""
        return self.root / "shards"

    @property
    def scratch(self) -> Path:
        """Temporary files of workers; emptied when a run starts and ends."""
        return self.root / ".scratch"

    def part(self, table: str, unit: str, fingerprint: str) -> Path:
        """The file of a unit's rows in `table` as `fingerprint` makes them, whether it is there or not."""
        return self.root / table / f"{unit}-{fingerprint}.parquet"

    def done(self, table: str, fingerprint: str) -> set[str]:
        """Units whose part of `table` was made by `fingerprint`: one directory listing."""
        folder, suffix = self.root / table, f"-{fingerprint}.parquet"
        if not folder.is_dir():
            return set()
        return {name.removesuffix(suffix) for name in os.listdir(folder) if name.endswith(suffix)}

    def write(self, table: str, unit: str, fingerprint: str, rows: pa.Table) -> None:
        """Write a unit's part, then remove the parts of the same unit that other parameters made."""
        self.write_streamed(table, unit, fingerprint, rows.schema, [rows])

    def write_streamed(
        self, table: str, unit: str, fingerprint: str, schema: pa.Schema, parts: Iterable[pa.Table]
    ) -> None:
        """`write` for rows that come in parts, one row group each, so that they need not fit into memory together."""
        path = self.part(table, unit, fingerprint)
        write_atomic_streamed(path, schema, parts)
        for old in path.parent.glob(f"{unit}-*.parquet"):
            if old != path:
                old.unlink(missing_ok=True)

    def read(self, table: str, units: Iterable[str], fingerprint: str, schema: pa.Schema) -> pa.Table:
        """The rows of these units, in the order given; units without a part are left out."""
        paths = [self.part(table, unit, fingerprint) for unit in units]
        parts = [read_table(path, schema) for path in paths if path.exists()]
        return pa.concat_tables(parts) if parts else schema.empty_table()


def read_table(path: Path, schema: pa.Schema | None = None) -> pa.Table:
    """One Parquet file whole; with a schema, its columns in that order. Raises UserError where it is damaged."""
    with readable(path):
        table = pq.ParquetFile(path).read()
    return table if schema is None else table.select(schema.names).cast(schema)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Around the reading of one Parquet file: what Arrow says of a damaged one becomes a UserError of one line."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # absent or forbidden, not damaged: the system's own words say so
        raise UserError(f"cannot read {path}; delete it and run `curate run` again") from error


def is_whole(path: Path) -> bool:
    """Whether a Parquet file begins and ends as one does: what was cut short by a full disk or a copy that broke off
    does not.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
            file.seek(-2 * len(_MAGIC), os.SEEK_END)
            return head == _MAGIC and file.read().endswith(_MAGIC)
    except OSError:
        return False


def write_atomic(path: Path, rows: pa.Table) -> None:
    """Write Parquet (zstd) next to its place and rename it. The same rows give the same bytes."""
    write_atomic_streamed(path, rows.schema, [rows])


def write_atomic_streamed(path: Path, schema: pa.Schema, parts: Iterable[pa.Table]) -> None:
    """`write_atomic` for rows that come in parts; the same parts give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    # Types as a reader gets them, one chunk per column: how the rows came together must not show in the bytes.
    as_read = _as_read(schema)
    try:
        with pq.ParquetWriter(temporary, as_read, compression="zstd") as writer:
            for rows in parts:
                writer.write_table(rows.cast(as_read).combine_chunks())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _as_read(schema: pa.Schema) -> pa.Schema:
    """The schema that comes back from a file: Parquet renames the inner fields of lists and maps."""
    file = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), file)
    return pq.read_schema(pa.BufferReader(file.getvalue()))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write indented JSON atomically."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
