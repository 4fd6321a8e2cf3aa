"""TensorFlow checkpoints (`model.ckpt.index` beside `model.ckpt.data-00000-of-00001`) read without TensorFlow.

The index is a table as LevelDB writes it (doc/table_format.md there): blocks of prefix-compressed keys, each raw or
snappy-compressed and followed by its masked CRC32C. Its values are protocol buffers
(tensorflow/core/protobuf/tensor_bundle.proto).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clipmill.curate.errors import UserError, one_line
from clipmill.evaluate.networks.crc32c import crc32c, masked

_FOOTER_BYTES = 48
_MAGIC = 0xDB4775248B80FB57
_TRAILER_BYTES = 5
_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}
_MALFORMED = (IndexError, ValueError, KeyError, TypeError, struct.error)


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies. dtype: numpy's name. crc32c: masked, of the bytes at `offset`."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int
    crc32c: int


def index_path(path: Path) -> Path | None:
    """The index that `path` names: itself, its prefix (`model.ckpt`), its data file or its folder; None where there is
    none.
    """
    if path.is_dir():
        found = sorted(path.glob("*.index"))
        return found[0] if len(found) == 1 else None
    prefix = path.name.split(".data-")[0]
    index = path.with_name(prefix if prefix.endswith(".index") else f"{prefix}.index")
    return index if index.is_file() else None


def data_path(index: Path) -> Path:
    """The data file beside an index."""
    return index.with_name(f"{index.name.removesuffix('.index')}.data-00000-of-00001")


def entries(index: Path) -> dict[str, Entry]:
    """Name -> where it lies. Raises UserError where the file is no index, is damaged, or has parts that are not
    supported.
    """
    try:
        rows = dict(_table(index.read_bytes()))
        header = _fields(rows.pop(b""))
        if header.get(1, 1) != 1 or header.get(2, 0) != 0:
            raise UserError(f"{index}: only checkpoints of one little-endian data file are read")
        return {name.decode(): _entry(value) for name, value in rows.items()}
    except UserError as error:
        raise UserError(str(error) if str(index) in str(error) else f"{index}: {error}") from None
    except OSError as error:
        raise UserError(f"{index}: {one_line(error)}") from None
    except _MALFORMED:
        raise UserError(f"{index} is not the index of a TensorFlow checkpoint, or it is damaged") from None


def tensors(index: Path) -> dict[str, np.ndarray]:
    """Every tensor of a checkpoint, by name, each checked against the CRC in the index. Raises UserError."""
    data = data_path(index)
    if not data.is_file():
        raise UserError(f"{index} has no {data.name} beside it: a checkpoint is both files")
    raw = data.read_bytes()
    return {name: _tensor(name, entry, raw, data) for name, entry in entries(index).items()}


def _tensor(name: str, entry: Entry, raw: bytes, data: Path) -> np.ndarray:
    part = raw[entry.offset : entry.offset + entry.size]
    if len(part) != entry.size or masked(crc32c(part)) != entry.crc32c:
        raise UserError(f"{data} is damaged or cut short: {name} does not have the checksum of the index")
    try:
        return np.frombuffer(part, entry.dtype).reshape(entry.shape)
    except ValueError:
        raise UserError(f"{data}: {name} does not have the size of its shape {entry.shape}") from None


def _table(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a table in order."""
    footer = raw[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise ValueError("no table")
    _, at = _varint(footer, _varint(footer, 0)[1])
    for _, handle in _rows(_block(raw, footer[at:])):
        yield from _rows(_block(raw, handle))


def _block(raw: bytes, handle: bytes) -> bytes:
    """The block at a handle (offset, size), decompressed."""
    offset, at = _varint(handle, 0)
    size, _ = _varint(handle, at)
    stored, crc = raw[offset : offset + size + 1], raw[offset + size + 1 : offset + size + _TRAILER_BYTES]
    if masked(crc32c(stored)) != struct.unpack("<I", crc)[0]:
        raise UserError("a block of the index does not have its checksum: the file is damaged")
    if stored[-1] > 1:
        raise UserError(f"the index uses compression {stored[-1]}, only none and snappy are read")
    return _unsnappy(stored[:-1]) if stored[-1] else stored[:-1]


def _rows(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block; each key repeats the first bytes of the one before."""
    end = len(block) - 4 - 4 * struct.unpack("<I", block[-4:])[0]
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + length]
        at += own + length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """(value, position after it)."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _unsnappy(data: bytes) -> bytes:
    """Snappy's raw format (google/snappy, format_description.txt)."""
    length, at = _varint(data, 0)
    out = bytearray()
    while at < len(data):
        tag = data[at]
        if tag & 3 == 0:
            at = _literal(data, at, out)
        else:
            at = _copy(data, at, out)
    if len(out) != length:
        raise ValueError("snappy length")
    return bytes(out)


def _literal(data: bytes, at: int, out: bytearray) -> int:
    length, at = data[at] >> 2, at + 1
    if length >= 60:
        extra = length - 59
        length, at = int.from_bytes(data[at : at + extra], "little"), at + extra
    out += data[at : at + length + 1]
    return at + length + 1


def _copy(data: bytes, at: int, out: bytearray) -> int:
    tag = data[at]
    if tag & 3 == 1:
        length, back, at = (tag >> 2 & 7) + 4, (tag >> 5) << 8 | data[at + 1], at + 2
    else:
        width = 2 if tag & 3 == 2 else 4
        length, back, at = (tag >> 2) + 1, int.from_bytes(data[at + 1 : at + 1 + width], "little"), at + 1 + width
    if not 0 < back <= len(out):
        raise ValueError("snappy offset")
    # A copy may reach into what it writes: the piece then repeats.
    piece = bytes(out[-back:][:length])
    out += (piece * -(-length // len(piece)))[:length]
    return at


def _fields(message: bytes) -> dict[int, int | bytes]:
    """Field number -> value of a protocol buffer; of repeated fields the last."""
    return dict(_all_fields(message))


def _all_fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
        elif kind == 2:
            length, at = _varint(message, at)
            yield number, message[at : at + length]
            at += length
        else:
            width = {1: 8, 5: 4}[kind]
            yield number, int.from_bytes(message[at : at + width], "little")
            at += width


def _entry(message: bytes) -> Entry:
    """A BundleEntryProto."""
    fields = _fields(message)
    if 7 in fields or fields.get(3, 0) != 0:
        raise UserError("tensors in slices or in several files are not read")
    dtype = _DTYPES.get(int(fields.get(1, 0)))
    if dtype is None:
        raise UserError(f"tensors of TensorFlow's type {fields.get(1, 0)!r} are not read")
    shape_message = fields.get(2, b"")
    dims = [_fields(d) for number, d in _all_fields(bytes(shape_message)) if number == 2 and isinstance(d, bytes)]
    shape = tuple(int(d.get(1, 0)) for d in dims)
    return Entry(dtype, shape, int(fields.get(4, 0)), int(fields.get(5, 0)), int(fields.get(6, 0)))
