"""The manifest as a mapped file: any clip at once, any column without the others, and no table in memory.

Parquet gives rows in groups of up to a million; a page wants sixty from anywhere. So the columns that people look at
are copied once, in a stream, into a file without a name in the user's cache folder, as Arrow lies in memory. The file
is gone when the process ends, however it ends.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipmill.curate.common.content import cache_home
from clipmill.curate.tables.manifest import Manifest

ROW, TEXT = "_row", "_text"  # number of the clip in the manifest; what a search looks into, lower case
NOT_RUN = "_not_run "  # and an annotator's name: whether it has not looked at the clip
_BATCH = 32_768
_SEARCHED = ("relpath", "title", "screen_text")
_NESTED = ("captions", "score_status", "failed_filters", "tags")


def shown_columns(schema: pa.Schema) -> list[str]:
    """Names of the columns that are copied: numbers, truth values, texts, and the few lists that a page shows."""
    return [field.name for field in schema if field.name in _NESTED or is_plain(field.type)]


def is_plain(kind: pa.DataType) -> bool:
    """A number that DuckDB knows, a truth value, a text or a time."""
    wide = pa.types.is_floating(kind) and not pa.types.is_float16(kind)
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return wide or text or pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_timestamp(kind)


def mapped_copy(manifest: Manifest, annotators: Sequence[str], tick: Callable[[int], None]) -> pa.Table:
    """The columns of a manifest that people look at, with ROW, TEXT and NOT_RUN of these annotators, mapped. tick:
    is told how many rows are there. Raises Damaged where the file cannot be read, OSError where the cache folder has no
    room.
    """
    folder = cache_home()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix="browse-") as file:
        batches = read_batches(manifest, _BATCH)
        first = with_search(next(batches), 0, annotators)
        with pa.OSFile(file.name, "wb") as sink, pa.ipc.new_file(sink, first.schema) as writer:
            writer.write_batch(first)
            done = first.num_rows
            for batch in batches:
                writer.write_batch(with_search(batch, done, annotators))
                done += batch.num_rows
                tick(done)
        return pa.ipc.open_file(pa.memory_map(file.name)).read_all()


def read_batches(manifest: Manifest, rows: int) -> Iterator[pa.RecordBatch]:
    """The shown columns in parts, at least one, however large the row groups of its files are."""
    columns = shown_columns(manifest.schema)
    found = False
    for batch in manifest.batches(columns, rows):
        found = True
        yield batch
    if not found:
        empty = pa.schema([manifest.schema.field(name) for name in columns]).empty_table()
        yield pa.RecordBatch.from_arrays([c.combine_chunks() for c in empty.columns], schema=empty.schema)


def with_search(batch: pa.RecordBatch, first: int, annotators: Sequence[str] = ()) -> pa.RecordBatch:
    """The batch with ROW, counted from `first`, TEXT, and NOT_RUN of each annotator."""
    n = batch.num_rows
    texts = [batch.column(name) for name in _SEARCHED if name in batch.schema.names]
    texts += [_joined(batch.column(name)) for name in ("captions", "tags") if name in batch.schema.names]
    words = pc.binary_join_element_wise(*texts, " ", null_handling="skip") if texts else pa.array([""] * n)
    found = batch.append_column(ROW, pa.array(np.arange(first, first + n, dtype=np.int32)))
    found = found.append_column(TEXT, pc.utf8_lower(words.cast(pa.string())))
    for name in annotators:
        found = found.append_column(NOT_RUN + name, pa.array(_has_not_run(batch, name)))
    return found


def _has_not_run(batch: pa.RecordBatch, annotator: str) -> np.ndarray:
    """bool [n]: `score_status` has no other word of the annotator, with or without its version, than not_run."""
    waits = np.ones(batch.num_rows, bool)
    if "score_status" in batch.schema.names:
        status = batch.column("score_status")
        offsets = status.offsets.to_numpy()
        parents = np.repeat(np.arange(len(status)), np.diff(offsets))
        span = slice(offsets[0], offsets[-1])
        keys, items = status.keys[span], status.items[span]
        names = pa.array([annotator, annotator.partition(".")[0]], pa.string())
        looked = pc.and_(pc.is_in(keys, names), pc.not_equal(items, "not_run"))
        waits[parents[pc.fill_null(looked, False).to_numpy(zero_copy_only=False)]] = False
    return waits


def _joined(lists: pa.ListArray) -> pa.Array:
    """The texts of each row's list, by spaces: of a list of texts, or of captions."""
    values = lists.values
    words = values.field("text") if pa.types.is_struct(values.type) else values
    filled = pc.fill_null(words.cast(pa.string()), "")
    return pc.binary_join(pa.ListArray.from_arrays(lists.offsets, filled, mask=lists.is_null()), " ")
