"""Clips that an earlier export packed: they need not be encoded again when others join them, or leave."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clipmill.curate.common.files import beside, is_bare
from clipmill.curate.common.log import Progress, Tell, silent
from clipmill.curate.tables.run_dir import RunDir

_PLACE = ("clip_id", "shard", "offset", "size", "sha256")


class PackedClips:
    """The clips of the shards that the manifest names, by their content."""

    def __init__(self, run: RunDir, manifest: pa.Table, tell: Tell = silent) -> None:
        """manifest: of before this export; without shards it holds none. tell: gets a line when the first of them is
        copied, and then how far it is.
        """
        there = set(_PLACE) <= set(manifest.column_names)
        rows = manifest.select(_PLACE).filter(pc.is_valid(manifest["shard"])).to_pylist() if there else []
        self._shards, self._places = run.shards, {row["clip_id"]: row for row in rows}
        self._tell = tell
        self._progress: Progress | None = None

    def unpack(self, row: Mapping[str, Any], folder: Path) -> bool:
        """Write a clip as folder / file, whole or not at all; False where no shard holds exactly it. row: of the list
        of encoded clips (clip_id, file, size_bytes, sha256).
        """
        place = self._places.get(row["clip_id"])
        if place is None or place["sha256"] != row["sha256"] or not (is_bare(place["shard"]) and is_bare(row["file"])):
            return False
        try:
            with (self._shards / place["shard"]).open("rb") as shard:
                if row["size_bytes"] > os.fstat(shard.fileno()).st_size:  # no memory is asked for what is not there
                    return False
                shard.seek(place["offset"])
                data = shard.read(row["size_bytes"])
        except (OSError, ValueError):  # lost, or a place that is none
            return False
        if hashlib.sha256(data).hexdigest() != row["sha256"]:
            return False
        folder.mkdir(parents=True, exist_ok=True)
        with beside(folder / row["file"]) as temporary:
            temporary.write_bytes(data)
        if self._progress is None:
            self._progress = Progress("unpacking from the shards", len(self._places), "clips", self._tell)
            self._progress.reach(0, len(self._places))
        self._progress.advance()
        return True
