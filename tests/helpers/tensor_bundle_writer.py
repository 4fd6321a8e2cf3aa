"""TensorFlow checkpoints written byte by byte, as the format has them, to be read back."""

import struct

import numpy as np

from clipmill.evaluate.networks.crc32c import crc32c, masked


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def message(*fields):
    """A protocol buffer of (number, int | bytes); numbers of 100 and more: fixed32."""
    parts = []
    for number, value in fields:
        if number >= 100:
            parts.append(varint((number - 100) << 3 | 5) + struct.pack("<I", value))
        elif isinstance(value, int):
            parts.append(varint(number << 3) + varint(value))
        else:
            parts.append(varint(number << 3 | 2) + varint(len(value)) + value)
    return b"".join(parts)


def block_of(rows):
    """Prefix-compressed rows with one restart point."""
    out, before = bytearray(), b""
    for key, value in rows:
        shared = next(
            (k for k, (a, b) in enumerate(zip(key, before, strict=False)) if a != b), min(len(key), len(before))
        )
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return bytes(out) + struct.pack("<II", 0, 1)


def snappy(data):
    """A plain compressor: copies of earlier four-byte runs, overlapping ones too, else literals."""
    out, literal, seen, at = bytearray(varint(len(data))), bytearray(), {}, 0

    def flush():
        for start in range(0, len(literal), 300):
            part = literal[start : start + 300]
            out.extend(
                bytes([(len(part) - 1) << 2])
                if len(part) <= 60
                else bytes([61 << 2]) + struct.pack("<H", len(part) - 1)
            )
            out.extend(part)
        literal.clear()

    while at < len(data):
        found = seen.get(data[at : at + 4])
        seen[data[at : at + 4]] = at
        length = 0
        while (
            found is not None and length < 64 and at + length < len(data) and data[found + length] == data[at + length]
        ):
            length += 1
        if length < 4:
            literal.append(data[at])
            at += 1
            continue
        flush()
        back = at - found
        if length < 12 and back < 2048:
            out.extend([(back >> 8) << 5 | (length - 4) << 2 | 1, back & 255])
        else:
            out.extend(
                bytes([(length - 1) << 2 | 2]) + struct.pack("<H", back)
                if back < 65536
                else bytes([(length - 1) << 2 | 3]) + struct.pack("<I", back)
            )
        at += length
    flush()
    return bytes(out)


def write_bundle(prefix, variables, compress=False, rows_per_block=40):
    """A checkpoint as TensorFlow writes it. Returns the prefix."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    data, rows = bytearray(), [(b"", message((1, 1), (3, message((1, 1)))))]
    for name in sorted(variables):
        raw = np.ascontiguousarray(variables[name], "<f4").tobytes()
        shape = b"".join(message((2, message((1, size)))) for size in variables[name].shape)
        entry = message((1, 1), (2, shape), (4, len(data)), (5, len(raw)), (106, masked(crc32c(raw))))
        rows.append((name.encode(), entry))
        data += raw
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(data)
    prefix.with_name(f"{prefix.name}.index").write_bytes(_sstable(rows, compress, rows_per_block))
    return prefix


def _sstable(rows, compress, rows_per_block):
    out, handles = bytearray(), []

    def add(block):
        stored = (snappy(block) + b"\1") if compress else block + b"\0"
        handle = varint(len(out)) + varint(len(stored) - 1)
        out.extend(stored + struct.pack("<I", masked(crc32c(stored))))
        return handle

    for start in range(0, len(rows), rows_per_block):
        part = rows[start : start + rows_per_block]
        handles.append((part[-1][0] + b"~", add(block_of(part))))
    meta, index = add(block_of([])), add(block_of(handles))
    return bytes(out) + (meta + index).ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
