"""Clips of a curate run or of any manifest: from its shards where they were exported, else from the source videos."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clipmill.curate.common.content import Digests, Span
from clipmill.curate.common.files import is_bare, is_below
from clipmill.curate.common.log import say
from clipmill.curate.common.memory import check_unpacked
from clipmill.curate.common.publish import POINTER, manifest_files
from clipmill.curate.common.sql import frame_where
from clipmill.curate.contract.crop import crop_box
from clipmill.curate.contract.schema import clip_id as id_of_clip
from clipmill.curate.contract.schema import video_id
from clipmill.curate.errors import UserError, one_line
from clipmill.curate.inputs.files import path_of
from clipmill.curate.tables.manifest import folder_of, manifest_at
from clipmill.curate.weights import sha256
from clipmill.evaluate.sets import Skip, Video, VideoSet
from clipmill.evaluate.sets.files import Opened, file_frames, unchanged
from clipmill.evaluate.sets.tars import member_frames

_NEEDED = ("clip_id", "uri", "start_pts", "end_pts")
_OF_SAMPLES = ("checkpoint", "step", "average", "weights_sha256")


def manifest_set(path: Path, where: str | None, index: Path | None = None) -> VideoSet:
    """The kept clips of a manifest (all of them where it has no column `keep`), those for which `where` is true.

    A manifest with a column `path` (as `models sample` writes it) names files beside it. What a clip is, its bytes
    tell, not the manifest: where the two disagree it is skipped. index: remembers what was read. Raises UserError where
    the file is no manifest or nothing matches.
    """
    whole = manifest_at(path).read()
    n_all = len(whole)
    if "keep" in whole.column_names:
        whole = whole.filter(pc.fill_null(whole["keep"], False))  # older runs have nulls where a score is missing
    try:
        table = frame_where(whole, where)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    if table.empty:
        raise UserError(f"no clip of {path} is kept" + (f" and matches {where!r}" if where else "") + f" (of {n_all})")
    missing = (
        [name for name in ("clip_id", "path") if name not in table]
        if "path" in table
        else [n for n in _NEEDED if n not in table]
    )
    if missing:
        raise UserError(f"{path} is no manifest: it has no column {missing[0]!r}")
    root = folder_of(path)
    clips = _Clips(root, _sizes(root), Digests(index and index.with_suffix(".content"), say))
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(clips.video, table.to_dict("records")))
    clips.digests.save()
    videos = [v for v in found if isinstance(v, Video)]
    skipped = [v for v in found if isinstance(v, Skip)]
    name = f"{root if path in _of_a_folder(root) else path}" + (f" where {where}" if where else "")
    return VideoSet(
        name, "manifest", sorted(videos, key=lambda v: v.video_id), tuple(skipped), _origin(path, table, where)
    )


def _of_a_folder(root: Path) -> tuple[Path, ...]:
    return root / POINTER, manifest_files(root).switch


def _origin(path: Path, table: pd.DataFrame, where: str | None) -> dict[str, Any]:
    """See `VideoSet.origin`. What a manifest of samples says of their checkpoint is one value, or a list where it mixes
    several.
    """
    found: dict[str, Any] = {"manifest": str(path.resolve()), "manifest_sha256": sha256(path)} | (
        {"where": where} if where else {}
    )
    for name in _OF_SAMPLES:
        values = table[name].drop_duplicates().tolist() if name in table else []
        found |= {name: values[0] if len(values) == 1 else values} if values else {}
    return found


@dataclass(frozen=True)
class _Clips:
    """Rows of the manifest in the folder `root` to videos. sizes: see `_sizes`."""

    root: Path
    sizes: Mapping[str, tuple[int, int]]
    digests: Digests

    def video(self, row: Mapping[Any, Any]) -> Video | Skip:
        """A clip that can be read and is what the manifest says, else the reason why not."""
        try:
            return self._named(row) or self._exported(row) or self._of_source(row)
        except OSError as error:
            return Skip(str(row["clip_id"]), f"its file cannot be read: {one_line(error)}")

    def _named(self, row: Mapping[Any, Any]) -> Video | Skip | None:
        if not isinstance(row.get("path"), str):
            return None
        clip_id, file = str(row["clip_id"]), self.root / row["path"]
        # A whole path is a place that somebody named, as in a list; the others count from here, and stay here.
        if not is_below(row["path"]) and not Path(row["path"]).is_absolute():
            return Skip(clip_id, f"its path does not lie below the manifest's folder: {row['path']!r}")
        if not file.is_file():
            return Skip(clip_id, f"there is no file {row['path']}")
        content = self.digests.of(file)
        if (stated := _stated(row)) not in (None, content.sha256):
            return Skip(clip_id, _other_bytes(row["path"], stated, content.sha256))
        return _made(row, content.sha256, unchanged(partial(file_frames, file), file, content.state))

    def _exported(self, row: Mapping[Any, Any]) -> Video | Skip | None:
        if isinstance(row.get("shard"), str) and not is_bare(row["shard"]):
            return Skip(str(row["clip_id"]), f"its shard is not within the folder shards: {row['shard']!r}")
        if not isinstance(row.get("shard"), str) or not (self.root / "shards" / row["shard"]).is_file():
            return None
        shard, offset, size = self.root / "shards" / row["shard"], int(row["offset"]), int(row["size"])
        if offset < 0 or not 0 <= size <= shard.stat().st_size - offset:
            return Skip(str(row["clip_id"]), f"its place is not within the file {row['shard']}")
        found = self.digests.of(shard, Span(offset, size)).sha256
        if (stated := _stated(row)) not in (None, found):
            return Skip(str(row["clip_id"]), _other_bytes(f"its place in {row['shard']}", stated, found))
        return _made(row, found[:32], partial(member_frames, shard, offset, size, ".mp4", found))

    def _of_source(self, row: Mapping[Any, Any]) -> Video | Skip:
        """The key says which pixels: the same span of the same source, cropped or not, is another clip than its
        exported copy.
        """
        clip_id, uri = str(row["clip_id"]), str(row["uri"])
        if not uri.startswith("file:///"):
            return Skip(clip_id, f"its source is no file of this machine: {uri[:80]!r}")
        source = path_of(uri)
        if not source.is_file():
            return Skip(clip_id, f"its source {source.name} is not there and it was not exported")
        content = self.digests.of(source)
        found, span = video_id(content.sha256), (int(row["start_pts"]), int(row["end_pts"]))
        stated = row.get("video_id") if clip_id == id_of_clip(str(row.get("video_id")), *span) else None
        of_file = None if isinstance(row.get("shard"), str) else _stated(row)  # else of a shard that is not there
        for said, is_ in ((stated, found), (of_file, content.sha256)):
            if said not in (None, is_):
                return Skip(clip_id, _other_bytes(f"its source {source.name}", said, is_))
        crop = crop_box(row) if row.get("border_share") else None
        size = self.sizes.get(str(row.get("video_id"))) if crop else None
        if crop and size is None:
            return Skip(
                clip_id,
                "it has borders, and videos.parquet, which knows the size of the whole picture, is not beside the"
                " manifest",
            )
        opened = unchanged(partial(file_frames, source, span, crop, size), source, content.state)
        return _made(row, f"{id_of_clip(found, *span)}:{crop}", opened)


def _made(row: Mapping[Any, Any], key: str, opened: Opened) -> Video:
    return Video(str(row["clip_id"]), key, opened, _caption(row), _group(row), columns=row)


def _stated(row: Mapping[Any, Any]) -> str | None:
    """The sha256 of the clip's file that the manifest states, if it does."""
    return row["sha256"] if isinstance(row.get("sha256"), str) and row["sha256"] else None


def _other_bytes(what: str, stated: object, found: str) -> str:
    return (
        f"{what} holds other bytes than the manifest says ({found[:8]}, not {str(stated)[:8]}): put the file back, or"
        " make the manifest again"
    )


def _group(row: Mapping[Any, Any]) -> str:
    """The source video: clips of one resemble each other."""
    return row["video_id"] if isinstance(row.get("video_id"), str) else ""


def _sizes(root: Path) -> dict[str, tuple[int, int]]:
    """video_id -> display width and height of the whole picture; the manifest's own `width` and `height` are those of
    the crop box.
    """
    path = root / "videos.parquet"
    if not path.is_file():
        return {}
    columns = ["video_id", "width", "height"]
    check_unpacked(path, columns)
    rows = pq.read_table(path, columns=columns).to_pylist()
    return {r["video_id"]: (r["width"], r["height"]) for r in rows if r["video_id"] and r["width"]}


def _caption(row: Mapping[Any, Any]) -> str:
    captions = row.get("captions")
    texts = (
        [c["text"] for c in captions if c.get("text")]
        if captions is not None and not isinstance(captions, float)
        else []
    )
    return str(texts[0]) if texts else str(row.get("caption") or "")
