"""Parts of many units in one file, as `curate compact` leaves them.

    <table>/_3f-<fingerprint>.parquet     the units whose ids begin with 3f, by one fingerprint; `_-...` with any id

A bucket is written beside its place and renamed, and only then do the parts that are in it go. So where both hold a
unit, the part is what counts; where two buckets do, the one of the longer beginning.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clipmill.curate.common.files import as_read, beside, parse_json, readable
from clipmill.curate.errors import Damaged

MARK = "_"
MOST_DIGITS = 3
_UNITS = b"clipmill.units"
# Of a row group, which is what reading one unit costs: pictures reach the first, scores the second.
_GROUP_BYTES, _GROUP_ROWS = 8 << 20, 1 << 14


@dataclass(frozen=True)
class Bucket:
    """units: id -> (first, end) row. ends: the end row of each row group. names: of its columns."""

    path: Path
    names: Sequence[str]
    units: Mapping[str, tuple[int, int]]
    ends: Sequence[int]

    def rows(self, unit: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The unit's rows; no more of the file is read than its row groups. Raises Damaged."""
        first, end = self.units[unit]
        starts = [0, *self.ends][: len(self.ends)]
        groups = [k for k, (a, b) in enumerate(zip(starts, self.ends, strict=True)) if a < end and b > first]
        with readable(self.path), pq.ParquetFile(self.path) as file:
            if not groups:
                return file.schema_arrow.empty_table().select(columns or file.schema_arrow.names)
            return file.read_row_groups(groups, columns=columns).slice(first - starts[groups[0]], end - first)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows, in the order of `units`. Raises Damaged."""
        with readable(self.path), pq.ParquetFile(self.path) as file:
            return file.read(columns=columns)


def bucket_path(folder: Path, beginning: str, fingerprint: str) -> Path:
    """Of the units whose ids begin so."""
    return folder / f"{MARK}{beginning}-{fingerprint}.parquet"


def beginnings(unit: str) -> list[str]:
    """Of the buckets that may hold the unit, the longest first."""
    return [unit[:digits] for digits in range(MOST_DIGITS, -1, -1)]


def open_bucket(path: Path) -> Bucket | None:
    """None where there is no such file, and where it is damaged: then nobody knows what it held."""
    try:
        state = path.stat()
        return _opened(path, state.st_mtime_ns, state.st_size)
    except (FileNotFoundError, Damaged):
        return None


@lru_cache(maxsize=4096)
def _opened(path: Path, mtime_ns: int, size_bytes: int) -> Bucket:
    """mtime_ns, size_bytes: so that a bucket that was written again is opened again."""
    with readable(path):
        metadata = pq.read_metadata(path)
    try:
        counts = parse_json((metadata.metadata or {})[_UNITS])
        units, first = {}, 0
        for unit, n_rows in counts:
            units[str(unit)] = (first, first + int(n_rows))
            first += int(n_rows)
        ends, end = [], 0
        for group in range(metadata.num_row_groups):
            end += metadata.row_group(group).num_rows
            ends.append(end)
    except (KeyError, ValueError, TypeError) as error:
        raise Damaged(f"{path} is no bucket of parts; delete it and run `curate run` again") from error
    if first != end:
        raise Damaged(f"{path} holds {end} rows, not the {first} that it names; delete it and run `curate run` again")
    return Bucket(path, metadata.schema.to_arrow_schema().names, units, ends)


def write_bucket(path: Path, parts: Iterable[tuple[str, pa.Table]], schema: pa.Schema) -> None:
    """Units and their rows, in order, whole or not at all; columns that a part lacks are null. The same parts give the
    same bytes. No more than a row group is in memory.
    """
    stored = as_read(schema)
    counts: list[tuple[str, int]] = []
    with beside(path, synced=True) as temporary, pq.ParquetWriter(temporary, stored, compression="zstd") as writer:
        for group in _grouped(parts, stored, counts):
            writer.write_table(group, row_group_size=len(group))
        writer.add_key_value_metadata({_UNITS.decode(): json.dumps(counts)})


def _grouped(
    parts: Iterable[tuple[str, pa.Table]], schema: pa.Schema, counts: list[tuple[str, int]]
) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    for unit, rows in parts:
        counts.append((unit, len(rows)))
        if len(rows):
            waiting.append(conform(rows, schema))
        if sum(t.nbytes for t in waiting) >= _GROUP_BYTES or sum(map(len, waiting)) >= _GROUP_ROWS:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def conform(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows with the columns of the schema, null where they have none of that name."""
    for name in (n for n in schema.names if n not in rows.column_names):
        rows = rows.append_column(name, pa.nulls(len(rows), schema.field(name).type))
    return rows.select(schema.names).cast(schema)


def digits_for(n_units: int, per_bucket: int) -> int:
    """How many digits of an id (of 16 values each) part so many units into buckets of about `per_bucket`."""
    digits = 0
    while digits < MOST_DIGITS and n_units > per_bucket * 16**digits:
        digits += 1
    return digits


def newest_of(buckets: Collection[Bucket]) -> dict[str, Bucket]:
    """unit -> the bucket that counts: see above."""
    found: dict[str, Bucket] = {}
    for bucket in sorted(buckets, key=lambda b: len(b.path.name)):
        found.update(dict.fromkeys(bucket.units, bucket))
    return found
