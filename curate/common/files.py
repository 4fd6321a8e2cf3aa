"""Files that are whole or not there: written beside their place, renamed, and read with one line of error."""

import hashlib
import json
import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from clipmill.curate.errors import Damaged, UserError, is_full_disk, one_line

# Arrow is imported where a table is read or written: JSON and text need none of it.
if TYPE_CHECKING:
    import pyarrow as pa

_MAGIC = b"PAR1"
_MOST_OF_HOST = 32
_MOST_JSON_BYTES = 256 << 20
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+([^/].*)")


def check_no_address(path: Path) -> None:
    """Raises UserError where a path is an address, such as s3://bucket/videos. `Path` makes one slash of its two."""
    address = _ADDRESS.match(str(path))
    if address is not None:
        raise UserError(
            f"{address[1]}://{address[2]} is an address: input videos are read from those of http(s):// and"
            " s3://, everything else is a file or folder of this machine; copy it, or mount that place as a folder"
        )


def fingerprint(facts: Mapping[str, Any]) -> str:
    """12 hex digits over the canonical JSON of what decides a result."""
    text = json.dumps(facts, sort_keys=True, default=list)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_table(path: Path, schema: "pa.Schema | None" = None, columns: Sequence[str] | None = None) -> "pa.Table":
    """One Parquet file whole, or these columns; with a schema, its columns in that order, null where the file has none
    of that name. Raises Damaged where it cannot be read, or holds another kind of values.
    """
    import pyarrow.parquet as pq

    with readable(path):
        table = pq.ParquetFile(path).read(columns=columns)
        return table if schema is None else _with_new_columns(table, schema).select(schema.names).cast(schema)


def _with_new_columns(table: "pa.Table", schema: "pa.Schema") -> "pa.Table":
    """Columns that came later are null in what was written before."""
    import pyarrow as pa

    for name in set(schema.names) - set(table.column_names):
        table = table.append_column(name, pa.nulls(len(table), schema.field(name).type))
    return table


@contextmanager
def readable(path: Path, mend: str = "delete it and run `curate run` again") -> Iterator[None]:
    """Around the reading of one Parquet file: what Arrow says of a damaged one becomes one line, Damaged."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # absent or forbidden, not damaged: the system's own words say so
        raise Damaged(f"cannot read {path}; {mend}") from error


def parse_json(text: str | bytes) -> Any:
    """The value of JSON text. Raises ValueError where it is none, also where it is nested too deeply to be read: what
    stands in a file may be anybody's.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises UserError, one line, where the file cannot be read or holds none."""
    try:
        if path.stat().st_size > _MOST_JSON_BYTES:
            raise ValueError(f"larger than {_MOST_JSON_BYTES >> 20} MB")
        value = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {one_line(error)}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object")
    return value


def is_below(name: object) -> bool:
    """Whether a name that stands in a file is a path below the folder that it counts from: text, relative, no `..`."""
    return isinstance(name, str) and "\0" not in name and name != "" and _stays(PurePath(name))


def is_bare(name: object) -> bool:
    """Whether a name that stands in a file is that of one file, without folders."""
    return is_below(name) and str(name) == PurePath(str(name)).name


def _stays(path: PurePath) -> bool:
    return not path.is_absolute() and ".." not in path.parts


def is_readable(path: Path) -> bool:
    """Whether all of a Parquet file can be read: as long as reading it takes."""
    try:
        read_table(path)
    except (UserError, OSError):
        return False
    return True


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


def own_name() -> str:
    """`node7-4711`: what names of this process's temporary files hold; no other process that shares the folder has
    it.
    """
    host = re.sub(r"[^A-Za-z0-9-]", "-", platform.node())[:_MOST_OF_HOST]
    return f"{host or 'localhost'}-{os.getpid()}"


@contextmanager
def beside(path: Path, synced: bool = False) -> Iterator[Path]:
    """A path to write a file or a folder at: it becomes `path` where the block ends well, and is gone where it does
    not, so that `path` is whole or what it was. synced: it is on the disk, not just in its cache, before it gets its
    name, and so is the name when the block is left: for what is believed because it is there.

    The name holds machine and process, because two may write the same file at the same moment.
    """
    temporary = path.with_name(f"{path.name}.{own_name()}.tmp")
    try:
        yield temporary
        if synced:
            _sync(temporary)
        os.replace(temporary, path)
        if synced:
            _sync(path.parent)
    finally:
        _remove(temporary)


def _sync(path: Path) -> None:
    """A file, or the names in a folder. Folders of some file systems cannot be synced; their names are on their own."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if is_full_disk(error) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str, synced: bool = False) -> None:
    """Write UTF-8 atomically; synced: see `beside`."""
    with beside(path, synced) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_table(path: Path, rows: "pa.Table") -> None:
    """A table as it is, as Parquet, atomically and synced. For a table that is made in one way, and has no contract."""
    import pyarrow.parquet as pq

    with beside(path, synced=True) as temporary:
        pq.write_table(rows, temporary)


def write_atomic(path: Path, rows: "pa.Table", synced: bool = False) -> None:
    """Write Parquet (zstd) next to its place and rename it. The same rows give the same bytes. synced: see `beside`."""
    write_atomic_streamed(path, rows.schema, [rows], synced)


def write_atomic_streamed(path: Path, schema: "pa.Schema", parts: "Iterable[pa.Table]", synced: bool = False) -> None:
    """`write_atomic` for rows that come in parts; the same parts give the same bytes."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    # Types as a reader gets them, one chunk per column: how the rows came together must not show in the bytes.
    stored = as_read(schema)
    with beside(path, synced) as temporary, pq.ParquetWriter(temporary, stored, compression="zstd") as writer:
        for rows in parts:
            writer.write_table(rows.cast(stored).combine_chunks())


def table_bytes(rows: "pa.Table") -> bytes:
    """Rows as a Parquet file (zstd)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pa.BufferOutputStream()
    pq.write_table(rows, file, compression="zstd")
    return bytes(file.getvalue())


def as_read(schema: "pa.Schema") -> "pa.Schema":
    """The schema that comes back from a Parquet file of it."""
    return _as_read(schema.serialize().to_pybytes())


@lru_cache(maxsize=64)
def _as_read(serialized: bytes) -> "pa.Schema":
    """The schema that comes back from a file: Parquet renames the inner fields of lists and maps. A run of small videos
    writes more tables than rows, with a dozen schemas. serialized: equal schemas may differ in their metadata.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pa.BufferOutputStream()
    pq.write_table(pa.ipc.read_schema(pa.BufferReader(serialized)).empty_table(), file)
    return pq.read_schema(pa.BufferReader(file.getvalue()))


def write_json(path: Path, content: Mapping[str, Any], synced: bool = False) -> None:
    """Write indented JSON atomically; synced: see `beside`."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n", synced)
