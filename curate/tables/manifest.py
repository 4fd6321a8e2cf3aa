"""The one reader of manifests, of a run or by themselves, one file or a folder of files: these columns, these rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clipmill.curate.common.files import read_table, readable
from clipmill.curate.common.memory import check_unpacked
from clipmill.curate.common.publish import FOLDER, ManifestFiles, manifest_files
from clipmill.curate.common.sql import columns_of, taken
from clipmill.curate.errors import Damaged
from clipmill.curate.tables.checked import checked

_BUFFER_BYTES = 1 << 20
DECISION_COLUMNS = ("keep", "outcome", "failed_filters", "margins")


@dataclass(frozen=True)
class Manifest:
    """A manifest that is there. Its files are opened when something is read."""

    where: ManifestFiles

    @cached_property
    def schema(self) -> pa.Schema:
        """Columns as they are stored; those of decisions last, where they have a file of their own."""
        first = self.where.files[0]
        with readable(first):
            found = pq.read_schema(first)
        if self.where.decided is None:
            return found
        with readable(self.where.decided):
            decided = pq.read_schema(self.where.decided)
        return pa.schema([*found, *(decided.field(name) for name in self._of_decisions(found, decided))])

    @property
    def column_names(self) -> list[str]:
        """Of the rows and of their decisions."""
        return list(self.schema.names)

    def read(self, columns: Sequence[str] | None = None, where: str | None = None) -> pa.Table:
        """Rows in their order. columns: only these, those that there are; None: all. where: an SQL condition, whatever
        columns it names. Raises UserError where a file is damaged, cannot be believed, or the condition does not work.
        """
        return pa.concat_tables(list(self.parts(columns, where)))

    def parts(self, columns: Sequence[str] | None = None, where: str | None = None) -> Iterator[pa.Table]:
        """`read`, file by file."""
        names = self.column_names if columns is None else [n for n in self.column_names if n in set(columns)]
        asked = [] if where is None else columns_of(where, self.column_names)
        decided, start = self._decided([*names, *asked]), 0
        for path in self.where.files:
            if where is None:
                rows = self._rows(path, names, decided, start)
                start += len(rows)
                yield rows
                continue
            seen = self._rows(path, asked, decided, start)
            mask = taken(seen, where, self.column_names)
            if mask.any():  # else the file's other columns are not read
                yield self._rows(path, names, decided, start).filter(pa.array(mask))
            else:
                yield pa.schema([self.schema.field(name) for name in names]).empty_table()
            start += len(mask)

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """These columns, at most so many rows at once, however large the files are; nothing where there is no row."""
        decided, start = self._decided(columns), 0
        own = [n for n in columns if decided is None or n not in decided.column_names]
        for path in self.where.files:
            check_unpacked(path, own)
            with readable(path):
                file = pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
                for batch in file.iter_batches(rows, columns=own, use_threads=False):
                    found = pa.Table.from_batches([batch])
                    more = found if decided is None else self._with(found, decided, start)
                    start += batch.num_rows
                    yield from more.select(list(columns)).combine_chunks().to_batches()

    def _with(self, rows: pa.Table, decided: pa.Table, start: int) -> pa.Table:
        """The rows, of which the first is the manifest's row `start`, with their decisions."""
        for name in decided.column_names:
            column = decided[name].slice(start, len(rows))
            if len(column) < len(rows):
                raise Damaged(f"{self.where.decided} has fewer rows than the manifest: run `curate filter` again")
            rows = rows.append_column(decided.schema.field(name), column)
        return rows

    @property
    def n_rows(self) -> int:
        """Clips."""
        found = 0
        for path in self.where.files:
            with readable(path):
                found += pq.read_metadata(path).num_rows
        return found

    def _rows(self, path: Path, names: Sequence[str], decided: pa.Table | None, start: int) -> pa.Table:
        """These columns of one file, whose first row is the manifest's row `start`."""
        own = [n for n in names if decided is None or n not in decided.column_names]
        rows = _read(path, own or self.schema.names[:1])
        if decided is not None and len(own) < len(names):
            rows = self._with(rows, decided, start)
        return rows.select(names) if names else rows

    def _decided(self, names: Sequence[str]) -> pa.Table | None:
        path = self.where.decided
        if path is None:
            return None
        with readable(self.where.files[0]):
            stored = pq.read_schema(self.where.files[0]).names
        wanted = [n for n in DECISION_COLUMNS if n in names and n not in stored]
        return _read(path, wanted) if wanted else None

    def _of_decisions(self, found: pa.Schema, decided: pa.Schema) -> list[str]:
        return [name for name in DECISION_COLUMNS if name in decided.names and name not in found.names]


def manifest_at(path: Path) -> Manifest:
    """Of a file, or of the list of files of a run's manifest in many (see `common.publish`)."""
    if folder_of(path) != path.parent:
        return Manifest(manifest_files(folder_of(path)))
    return Manifest(ManifestFiles(path, (path,)))


def folder_of(path: Path) -> Path:
    """The folder of a run or of samples whose manifest lies at `path`."""
    return path.parent.parent if path.parent.name == FOLDER and path.suffix == ".json" else path.parent


def _read(path: Path, columns: Sequence[str]) -> pa.Table:
    check_unpacked(path, columns)
    return checked(path, read_table(path, columns=columns))
