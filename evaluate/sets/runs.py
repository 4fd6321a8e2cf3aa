"""Clips of a curate run or of any manifest: from its shards where they were exported, else from the source videos."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clipmill.curate.common.files import readable
from clipmill.curate.common.sql import frame_where
from clipmill.curate.contract.crop import crop_box
from clipmill.curate.errors import UserError
from clipmill.curate.inputs.files import path_of
from clipmill.curate.weights import sha256
from clipmill.evaluate.sets import Skip, Video, VideoSet
from clipmill.evaluate.sets.files import file_frames
from clipmill.evaluate.sets.tars import member_frames

_NEEDED = ("clip_id", "uri", "start_pts", "end_pts")
_OF_SAMPLES = ("checkpoint", "step", "average", "weights_sha256")


def manifest_set(path: Path, where: str | None) -> VideoSet:
    """The kept clips of a manifest (all of them where it has no column `keep`), those for which `where` is true.

    A manifest with a column `path` (as `models sample` writes it) names files beside it. Raises UserError where the
    file is no manifest or nothing matches.
    """
    with readable(path, "copy or make it again"):
        whole = pq.read_table(path)
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
    sizes = _sizes(path.parent)
    found = [_video(row, path.parent, sizes) for row in table.to_dict("records")]
    videos = [v for v in found if isinstance(v, Video)]
    skipped = [v for v in found if isinstance(v, Skip)]
    name = f"{path.parent if path.name == 'manifest.parquet' else path}" + (f" where {where}" if where else "")
    return VideoSet(
        name, "manifest", sorted(videos, key=lambda v: v.video_id), tuple(skipped), _origin(path, table, where)
    )


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


def _video(row: Mapping[Any, Any], root: Path, sizes: dict[str, tuple[int, int]]) -> Video | Skip:
    clip_id = str(row["clip_id"])
    if isinstance(row.get("path"), str):
        file = root / row["path"]
        if not file.is_file():
            return Skip(clip_id, f"there is no file {row['path']}")
        return Video(clip_id, str(row.get("sha256") or clip_id), partial(file_frames, file), _caption(row), _group(row))
    if isinstance(row.get("shard"), str):
        shard = root / "shards" / row["shard"]
        if shard.is_file():
            open_ = partial(member_frames, shard, int(row["offset"]), int(row["size"]), ".mp4")
            return Video(clip_id, str(row["sha256"])[:32], open_, _caption(row), _group(row))
    source = path_of(row["uri"])
    if not source.is_file():
        return Skip(clip_id, f"its source {source.name} is not there and it was not exported")
    # The key says which pixels: the same span of the same source, cropped or not, is another clip than its exported
    # copy.
    span, crop = (int(row["start_pts"]), int(row["end_pts"])), crop_box(row) if row.get("border_share") else None
    size = sizes.get(str(row["video_id"])) if crop else None
    if crop and size is None:
        return Skip(
            clip_id,
            "it has borders, and videos.parquet, which knows the size of the whole picture, is not beside the manifest",
        )
    open_ = partial(file_frames, source, span, crop, size)
    return Video(clip_id, f"{clip_id}:{crop}", open_, _caption(row), _group(row))


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
    rows = pq.read_table(path, columns=["video_id", "width", "height"]).to_pylist()
    return {r["video_id"]: (r["width"], r["height"]) for r in rows if r["video_id"] and r["width"]}


def _caption(row: Mapping[Any, Any]) -> str:
    captions = row.get("captions")
    texts = (
        [c["text"] for c in captions if c.get("text")]
        if captions is not None and not isinstance(captions, float)
        else []
    )
    return str(texts[0]) if texts else str(row.get("caption") or "")
