"""How much memory there is, to say in one line that something does not fit before it is tried."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from clipmill.curate.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

# Of a container, in the two ways that Linux tells it.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# What a Parquet file may take, which may be anybody's: some kilobytes may hold one text a million times. So much, or so
# many times its own size; tables of runs take 3 to 30 times theirs.
MOST_BYTES = 256 << 20
MOST_TIMES = 500
_VALUE_BYTES = 8  # of one that is no text
_ROWS = 1 << 14


def memory_bytes() -> int:
    """Of this machine, or of the container that the process is in, where that has less."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in _LIMITS:
        with suppress(OSError, ValueError):  # no container, or one without a limit
            found.append(int(Path(name).read_text()))
    return min(found)


def check_fits(size_bytes: float, what: object, remedy: str) -> None:
    """Raises UserError where `what` takes more memory than there is."""
    there = memory_bytes()
    if size_bytes > there:
        raise UserError(f"{what} takes {size_bytes / 1e9:.3g} GB of memory, there are {there / 1e9:.3g} GB: {remedy}")


def check_unpacked(path: Path, columns: Sequence[str] | None = None) -> None:
    """Raises UserError, one line, where the file, or these columns of it, would take far more memory than its size
    tells. Of a file that is damaged nothing is said, whoever reads it says so.
    """
    import pyarrow as pa

    try:
        found = _unpacked_bytes(path, columns, allowed := max(MOST_BYTES, MOST_TIMES * path.stat().st_size))
    except (pa.ArrowException, OSError):
        return
    if found > allowed:
        raise UserError(
            f"{path} has {path.stat().st_size:,} bytes and takes more than {allowed:,} when it is read: it is damaged,"
            " or no table of this program"
        )


def _unpacked_bytes(path: Path, columns: Sequence[str] | None, enough: int) -> int:
    """Bytes of all values; counted no further than `enough`."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        declared, doubtful = _declared_bytes(file, columns, enough)
    for leaf in doubtful if declared <= enough else ():
        with pq.ParquetFile(path, read_dictionary=[leaf]) as file:
            for batch in file.iter_batches(batch_size=_ROWS, columns=[leaf], use_threads=False):
                declared += sum(map(_text_bytes, batch.columns))
                if declared > enough:
                    return declared
    return declared


def _declared_bytes(file: "pq.ParquetFile", columns: Sequence[str] | None, enough: int) -> tuple[int, list[str]]:
    """(bytes by the file's own list of its parts, columns of texts whose dictionary could make more than `enough`)."""
    declared, longest = 0, dict[str, int]()
    for group in (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)):
        for part in (group.column(i) for i in range(group.num_columns)):
            if columns is not None and part.path_in_schema.partition(".")[0] not in columns:
                continue
            is_text = part.physical_type == "BYTE_ARRAY"
            declared += max(part.total_uncompressed_size, part.num_values * (1 if is_text else _VALUE_BYTES))
            if is_text and part.has_dictionary_page:
                most = part.num_values * part.total_uncompressed_size
                longest[part.path_in_schema] = longest.get(part.path_in_schema, 0) + most
    return declared, [leaf for leaf, most in longest.items() if most > enough]


def _text_bytes(column: "pa.Array") -> int:
    """Of all texts in a column, within lists and records, as long as they would be without their dictionary."""
    return sum(_leaf_bytes(leaf) for leaf in _leaves(column))


def _leaves(column: "pa.Array") -> Iterator["pa.Array"]:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _leaves(column.flatten())
    elif pa.types.is_map(kind):
        yield from _leaves(column.keys)
        yield from _leaves(column.items)
    elif pa.types.is_struct(kind):
        for field in column.flatten():
            yield from _leaves(field)
    else:
        yield column


def _leaf_bytes(leaf: "pa.Array") -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(leaf.type):
        return int(leaf.nbytes)
    return int(pc.sum(pc.take(pc.binary_length(leaf.dictionary).cast(pa.int64()), leaf.indices)).as_py() or 0)
