"""Whether the tars of an export hold what the manifest says, told by sizes and headers, without decoding or hashing."""

import os
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipmill.curate.common.files import is_bare, read_table
from clipmill.curate.common.publish import newest
from clipmill.curate.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

HEADER_BYTES = 512


def names_clip(header: bytes, clip_id: str, size: int) -> bool:
    """Whether the 512 bytes before a member say that it is this clip, of this size in bytes."""
    try:
        member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return member.size == size and Path(member.name).stem == clip_id


def check_shards(root: Path, places: "pd.DataFrame") -> None:
    """One look at every shard: its size, where shards.parquet knows it, and the headers of its first and its last clip.

    places: clip_id, shard, offset, size of exported clips. Raises UserError, one line, where a shard of the run is
    lost, was cut short, or holds others than the manifest says.
    """
    ordered = places[["clip_id", "shard", "offset", "size"]].sort_values(["shard", "offset"])
    firsts, lasts = (ordered.drop_duplicates("shard", keep=keep).to_dict("records") for keep in ("first", "last"))
    sizes = _sizes(root)
    for ends in zip(firsts, lasts, strict=True):
        name = str(ends[0]["shard"])
        if not is_bare(name):
            raise UserError(f"{root}: the manifest names the shard {name!r}, which is no file of its folder shards")
        if reason := _wrong(root / "shards" / name, sizes.get(name), ends):
            raise UserError(f"{root / 'shards' / name} {reason}: `curate export {root}` writes the shards again")


def _wrong(path: Path, size_bytes: int | None, clips: Iterable[Mapping[Any, Any]]) -> str | None:
    """Why the file is not the shard that it should be; None where it is."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        return f"cannot be opened ({error.strerror})"
    try:
        found = os.fstat(descriptor).st_size
        if size_bytes is not None and found != size_bytes:
            return f"has {found} bytes, shards.parquet says {size_bytes}"
        for clip in clips:
            offset, size = int(clip["offset"]), int(clip["size"])
            header = os.pread(descriptor, HEADER_BYTES, offset - HEADER_BYTES) if offset >= HEADER_BYTES else b""
            if found < offset + size or not names_clip(header, str(clip["clip_id"]), size):
                return f"does not hold clip {clip['clip_id']} where the manifest says"
        return None
    finally:
        os.close(descriptor)


def _sizes(root: Path) -> dict[str, int]:
    """shard -> bytes; empty where there is no table of shards (a manifest that was put together by hand)."""
    path = newest(root, "shards.parquet")
    if not path.is_file():
        return {}
    table = read_table(path, columns=["shard", "size_bytes"])
    return dict(zip(table["shard"].to_pylist(), table["size_bytes"].to_pylist(), strict=True))
