"""The bytes of a clip for a browser: out of the tar where it is exported, else made from the source."""

import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from clipmill.curate.common.files import is_bare, readable
from clipmill.curate.common.publish import newest
from clipmill.curate.errors import DecodeError, UserError
from clipmill.curate.settings.export import ExportConfig
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.shard_files import HEADER_BYTES, names_clip

_PLAYABLE = ("h264", "vp9", "av1")  # codecs that a browser plays in MP4
_LOOK_PX, _LOOK_CRF = 360, 24
_MOST_MADE = 64
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Bytes:
    """A part of a file: `size` bytes from `offset` on."""

    path: Path
    offset: int
    size: int

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """Bytes start to end (exclusive) of the part, in pieces."""
        with self.path.open("rb") as file:
            file.seek(self.offset + start)
            left = end - start
            while left > 0 and (piece := file.read(min(left, _CHUNK))):
                left -= len(piece)
                yield piece


class Media:
    """Videos of a run's clips. folder: for those that are made on demand; the latest of them are kept."""

    def __init__(self, run: RunDir, folder: Path) -> None:
        self._run, self._folder = run, folder
        self._one_at_a_time = threading.Lock()

    def of(self, clip: Mapping[str, Any]) -> Bytes:
        """An MP4 that a browser plays. clip: its row. Raises UserError, one line, where the source is not there or does
        not decode.
        """
        return self.exported(clip) or self.made(clip)

    def exported(self, clip: Mapping[str, Any]) -> Bytes | None:
        """Where the clip lies in its tar; None where it is not exported, or does not lie there, or no browser plays
        it.
        """
        shard, codec = clip.get("shard"), clip.get("export_codec")
        if not shard or codec not in _PLAYABLE or not is_bare(shard):
            return None
        path, offset, size = self._run.shards / shard, int(clip["offset"]), int(clip["size"])
        try:
            with path.open("rb") as file:
                file.seek(max(0, offset - HEADER_BYTES))
                header = file.read(HEADER_BYTES)
                whole = os.fstat(file.fileno()).st_size >= offset + size
        except OSError:
            return None
        return Bytes(path, offset, size) if whole and names_clip(header, clip["clip_id"], size) else None

    def made(self, clip: Mapping[str, Any]) -> Bytes:
        """The clip, small, from its source video; made once while the page is open."""
        from clipmill.curate.export.encode import encode_clip
        from clipmill.curate.inputs.files import path_of

        if not is_bare(clip["clip_id"]):
            raise UserError("the clip's id is no name of a file")
        out = self._folder / f"{clip['clip_id']}.mp4"
        with self._one_at_a_time:
            if not out.is_file():
                source, side = path_of(clip["uri"]), min(clip["width"], clip["height"], _LOOK_PX)
                look = ExportConfig(max(2, side), None, crf=_LOOK_CRF, preset="ultrafast")
                try:
                    encode_clip(source, self._video(clip["video_id"]), clip, look, out)
                except (DecodeError, OSError) as error:
                    raise UserError(f"cannot play from the source {source.name}: {error}") from error
                self._forget_oldest()
        return Bytes(out, 0, out.stat().st_size)

    def _video(self, video_id: str) -> dict[str, Any]:
        path = newest(self._run.root, self._run.videos.name)
        with readable(path):
            found = ds.dataset(path, format="parquet").to_table(filter=ds.field("video_id") == video_id)
        rows = [row for row in found.to_pylist() if row["status"] in ("ok", "partial")]
        if not rows:
            raise UserError("the run's table of videos does not hold the clip's source")
        return rows[0]

    def _forget_oldest(self) -> None:
        made = sorted(self._folder.glob("*.mp4"), key=lambda path: path.stat().st_mtime_ns)
        for path in made[:-_MOST_MADE]:
            path.unlink(missing_ok=True)


def asked_range(header: str | None, size: int) -> tuple[int, int] | None:
    """[start, end) of a Range header of one range; None where there is none that can be understood, which means all.
    Raises UserError where it lies outside.
    """
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", (header or "").strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(size, int(found[2]) + 1 if found[2] else size)
    if start >= end:
        raise UserError(f"the range lies outside of {size} bytes")
    return start, end
