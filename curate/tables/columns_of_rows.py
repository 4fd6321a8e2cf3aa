"""Columns of lists, one for each clip, made without a Python object for each: a million clips have many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipmill.curate.contract import schema
from clipmill.curate.contract.captions import caption


@dataclass(frozen=True)
class Writer:
    """One caption annotator over N clips. texts: string [N], null where it wrote none. statuses: string [N]."""

    source: str
    model: str | None
    sample_weight: float
    texts: pa.ChunkedArray
    statuses: pa.ChunkedArray


def status_maps(statuses: Mapping[str, pa.ChunkedArray], n: int) -> pa.Array:
    """map [N]: the status of each annotator, in the order given. statuses: string [N] each, without nulls."""
    count = len(statuses)
    offsets = pa.array(np.arange(n + 1, dtype=np.int64) * count, pa.int32())
    names = pa.array(list(statuses), pa.string()).take(pa.array(np.tile(np.arange(count), n)))
    words = _interleaved([column.combine_chunks() for column in statuses.values()], n, pa.string())
    return pa.MapArray.from_arrays(offsets, names, words)


def caption_lists(sidecar: pa.ChunkedArray, writers: Sequence[Writer]) -> pa.Array:
    """list of schema.CAPTION [N]: the text beside the video first, where there is one, then one of each writer, failed
    ones included.
    """
    n, there = len(sidecar), pc.is_valid(sidecar).combine_chunks()
    given = [_records(Writer("sidecar", None, 1.0, sidecar, pa.chunked_array([pa.repeat("ok", n)])))]
    columns = given + [_records(writer) for writer in writers]
    counts = there.to_numpy(zero_copy_only=False).astype(np.int64) + len(writers)
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    taken = np.ones((n, len(columns)), bool)
    taken[:, 0] = there.to_numpy(zero_copy_only=False)
    return pa.ListArray.from_arrays(offsets, _interleaved(columns, n, schema.CAPTION).filter(pa.array(taken.ravel())))


def _records(writer: Writer) -> pa.Array:
    """schema.CAPTION [N]."""
    n = len(writer.texts)
    same = caption(writer.source, writer.model, None, writer.sample_weight, "")
    columns = {field.name: pa.repeat(pa.scalar(same[field.name], field.type), n) for field in schema.CAPTION} | {
        "text": writer.texts.combine_chunks(),
        "status": writer.statuses.combine_chunks(),
    }
    return pa.StructArray.from_arrays(
        [columns[f.name].cast(f.type) for f in schema.CAPTION], fields=list(schema.CAPTION)
    )


def _interleaved(columns: Sequence[pa.Array], n: int, kind: pa.DataType) -> pa.Array:
    """The first value of each column, then the second of each, and so on."""
    if not columns or not n:
        return pa.array([], kind)
    order = np.arange(len(columns) * n).reshape(len(columns), n).T.ravel()
    return pa.concat_arrays([column.cast(kind) for column in columns]).take(pa.array(order))
