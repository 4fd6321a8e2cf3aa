"""Join a run's tables into the manifest: one row per clip with every score, its status, its duplicates, split and
decision.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from clipmill.curate.captions import CaptionAnnotator
from clipmill.curate.common.files import read_table
from clipmill.curate.common.publish import newest
from clipmill.curate.config import Config
from clipmill.curate.contract import schema
from clipmill.curate.contract.annotator import ROLES
from clipmill.curate.contract.captions import PREFIX
from clipmill.curate.contract.schema import INDEX
from clipmill.curate.duplicates.near import Thumbs, near_duplicates
from clipmill.curate.duplicates.semantic import semantic_duplicates
from clipmill.curate.duplicates.splits import assign_splits
from clipmill.curate.networks.clip_columns import column as embedding_column
from clipmill.curate.settings.fingerprints import Fingerprints
from clipmill.curate.tables.columns_of_rows import Writer, caption_lists, status_maps
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.stored_thumbs import StoredThumbs

SIDECAR = ("caption", "title", "tags", "license", "source_url")


@dataclass(frozen=True)
class Joined:
    """clips: the joined view without decisions. videos: all rows of `videos`. makers: column -> `motion.v1`. messages:
    what the user should know of the splits.
    """

    clips: pa.Table
    videos: pa.Table
    makers: dict[str, str]
    messages: list[str]


def read_videos(run: RunDir, units: Sequence[str], prints: Fingerprints) -> pa.Table:
    """`videos` of the units in order, then the rows of files that were not processed (unreadable, copies)."""
    rows = run.read("videos", units, prints.base, schema.VIDEOS)
    rest = run.root / "videos" / UNPROCESSED
    return pa.concat_tables([rows, read_table(rest, schema.VIDEOS)]) if rest.exists() else rows


# A clip from which a transition was cut off is still what the text is about.
_WHOLE = 0.9
UNPROCESSED = "unprocessed.parquet"
INDEX_TABLE = "shards/index.parquet"


def makers(config: Config) -> dict[str, str]:
    """column -> the annotator and version that makes it, for every annotator of the configuration."""
    found = {}
    for name, annotator in config.annotators.items():
        found.update(dict.fromkeys(annotator.columns, f"{name}.v{annotator.version}"))
    return found


def join(run: RunDir, config: Config, units: Sequence[str]) -> Joined:
    """All tables of these units side by side, sorted by video and time. Scores that were not computed are null with
    their status.
    """
    prints = config.fingerprints
    clips = run.read("clips", units, prints.base, schema.CLIPS)
    videos = read_videos(run, units, prints)
    columns: dict[str, Any] = {name: clips[name] for name in clips.column_names}
    columns.update(_of_video(clips, videos))
    statuses: dict[str, pa.ChunkedArray] = {}
    for name, annotator in config.annotators.items():
        stored = schema.annotation_schema({c: t for c, t in annotator.columns.items() if not _is_picture(t.type)})
        table = run.read(prints.tables[name], units, prints.annotations[name], stored)
        table = table.take(pc.index_in(clips["clip_id"], table["clip_id"].combine_chunks()))
        statuses[name] = pc.fill_null(table["status"], "not_run")
        columns.update({c: table[c] for c in annotator.columns if c in table.column_names and c not in columns})
    columns["score_status"] = status_maps(statuses, len(clips))
    columns["captions"] = caption_lists(columns["caption"], _writers(columns, config, statuses))
    joined = pa.table(columns)
    embeddings = [field.name for field in joined.schema if pa.types.is_fixed_size_list(field.type)]
    frame = joined.select([n for n in _alike_by(config) if n in joined.column_names]).to_pandas()
    # Embeddings serve later stages alone; people read the manifest.
    joined = joined.drop_columns(embeddings)
    found = _duplicates(frame, config, StoredThumbs(run, config, clips)) | _semantic(frame, _vectors(columns), config)
    for name, values in found.items():
        joined = joined.append_column(name, values)
    joined = joined.append_column("caption_of", _caption_of(clips, videos))
    splits, messages = _splits(joined, config)
    joined = joined.append_column("split", splits)
    joined = with_shards(joined, run)
    messages += _shared_captions(joined)
    return Joined(
        joined.sort_by([("relpath", "ascending"), ("clip_index", "ascending")]), videos, makers(config), messages
    )


def _of_video(clips: pa.Table, videos: pa.Table) -> dict[str, pa.ChunkedArray]:
    rows = _videos_of(clips, videos, ["relpath", "uri", *SIDECAR])
    return {name: rows[name] for name in rows.column_names}


def _videos_of(clips: pa.Table, videos: pa.Table, columns: Sequence[str]) -> pa.Table:
    """These columns of each clip's video: the list of its cuts, once for every clip, would fill memory."""
    known = videos.filter(pc.and_(pc.is_valid(videos["video_id"]), pc.not_equal(videos["status"], "duplicate")))
    places = pc.index_in(clips["video_id"], known["video_id"].combine_chunks())
    return known.select(columns).take(places)


def _caption_of(clips: pa.Table, videos: pa.Table) -> pa.Array:
    """What the text beside each clip's video describes: that clip, or the whole video of which the clip is a part."""
    of = _videos_of(clips, videos, ["duration_s", "caption"])
    whole = pc.fill_null(pc.greater_equal(clips["duration_s"], pc.multiply(_WHOLE, of["duration_s"])), True)
    return pc.if_else(pc.is_valid(of["caption"]), pc.if_else(whole, "clip", "video"), None)


def _shared_captions(joined: pa.Table) -> list[str]:
    """What a person should know of captions that stand on several clips."""
    shared = joined.filter(pc.equal(joined["caption_of"], "video"))
    if not len(shared):
        return []
    return [
        f"captions of {len(shared['video_id'].unique())} whole videos stand on {len(shared)} clips, which are parts of"
        " them (column caption_of)"
    ]


def _is_picture(kind: pa.DataType) -> bool:
    """Small pictures, by which clips are compared: they are read when two are, and are most of what is stored."""
    return bool(pa.types.is_binary(kind))


def _alike_by(config: Config) -> list[str]:
    """Columns by which duplicates are found, and which of them is kept."""
    hashes = [f"phash_{role}" for role in ROLES]
    return [
        "clip_id",
        "video_id",
        "duration_s",
        "width",
        "height",
        "sharpness",
        *hashes,
        config.dedup.semantic_keep or "",
    ]


def _writers(columns: Mapping[str, Any], config: Config, statuses: Mapping[str, pa.ChunkedArray]) -> list[Writer]:
    """The caption annotators and what they wrote."""
    return [
        Writer(name.removeprefix(PREFIX), writer.model, writer.sample_weight, columns[name], statuses[name])
        for name, writer in config.annotators.items()
        if isinstance(writer, CaptionAnnotator)
    ]


def _duplicates(frame: pd.DataFrame, config: Config, thumbs: Thumbs) -> dict[str, pa.Array]:
    kinds = {"dup_group_id": pa.string(), "dup_rank": pa.int32(), "dup_of": pa.string()}
    if "phash" not in config.annotators or frame.empty:
        return {name: pa.nulls(len(frame), kind) for name, kind in kinds.items()}
    groups = near_duplicates(frame, config.dedup, thumbs).set_index("clip_id").reindex(frame["clip_id"])
    return {name: pa.array(groups[name], kind, from_pandas=True) for name, kind in kinds.items()}


def _vectors(columns: Mapping[str, Any]) -> np.ndarray | None:
    """float16 [N, R, D] of the CLIP embeddings by role, NaN where there are none; None where nobody made them."""
    found = [columns[name].combine_chunks() for name in map(embedding_column, ROLES) if name in columns]
    if not found or not len(found[0]):
        return None
    filled = [np.full((len(column), column.type.list_size), np.nan, np.float16) for column in found]
    for array, column in zip(filled, found, strict=True):
        array[column.is_valid().to_numpy(zero_copy_only=False)] = (
            column.flatten().to_numpy().reshape(-1, column.type.list_size)
        )
    return np.stack(filled, axis=1)


def _semantic(frame: pd.DataFrame, vectors: np.ndarray | None, config: Config) -> dict[str, pa.Array]:
    if vectors is None:
        return {}
    groups = semantic_duplicates(frame, vectors, config.dedup)
    kinds = {"semantic_group_id": pa.string(), "semantic_rank": pa.int32(), "semantic_of": pa.string()}
    return {name: pa.array(groups[name], kind, from_pandas=True) for name, kind in kinds.items()}


def _splits(joined: pa.Table, config: Config) -> tuple[pa.Array, list[str]]:
    frame = joined.select(["clip_id", "video_id", "dup_group_id"]).to_pandas()
    if frame.empty:
        return pa.nulls(0, pa.string()), []
    splits, info = assign_splits(frame, config.export.split)
    return pa.array(frame["video_id"].map(splits), pa.string(), from_pandas=True), info.messages()


def with_shards(joined: pa.Table, run: RunDir) -> pa.Table:
    """The table with the places of the run's own export, null where there is none; places of another one are taken
    away.
    """
    path = newest(run.root, INDEX_TABLE)
    return append_shards(joined, read_table(path, INDEX) if path.exists() else INDEX.empty_table())


def append_shards(manifest: pa.Table, index: pa.Table) -> pa.Table:
    """The manifest with where each exported clip lies: shard, offset, size, sha256 and the facts of the written file;
    null elsewhere.
    """
    rows = index.take(pc.index_in(manifest["clip_id"], index["clip_id"].combine_chunks()))
    for name in (n for n in INDEX.names if n not in ("clip_id", "split")):
        # In place where the column is there already: a manifest exported twice has the same bytes.
        at = manifest.column_names.index(name) if name in manifest.column_names else len(manifest.column_names)
        manifest = manifest.remove_column(at) if at < len(manifest.column_names) else manifest
        manifest = manifest.add_column(at, INDEX.field(name), rows[name])
    return manifest


def with_decisions(joined: pa.Table, decisions: pa.Table) -> pa.Table:
    """The manifest: the joined view and the decisions of the run's policy."""
    rows = decisions.take(pc.index_in(joined["clip_id"], decisions["clip_id"].combine_chunks()))
    for name in ("keep", "outcome", "failed_filters", "margins"):
        joined = joined.append_column(name, rows[name])
    return joined
