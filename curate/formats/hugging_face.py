"""`--format hf`: a folder that the `datasets` package loads and a hub can host.

OUT/README.md                         the dataset card
OUT/data/<split>/metadata.parquet     one row per clip: `file_name`, caption, scores, source, licence
OUT/data/<split>/<clip_id>.mp4

Each split has its own metadata file, because the loader gives every row of one file to every split that sees it. A hub
takes about ten thousand files per folder; larger sets are better served by the shards themselves, with `webdataset`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from clipmill.curate.common.files import fingerprint, write_atomic
from clipmill.curate.common.log import Tell
from clipmill.curate.contract import schema
from clipmill.curate.formats.card import card_text
from clipmill.curate.formats.publish import Written, publish
from clipmill.curate.formats.shard_clips import best_caption, exported_clips, write_clips
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_manifest, read_run_json

if TYPE_CHECKING:
    import pandas as pd

HUGGING_FACE_VERSION = 1
# Column of metadata.parquet -> (column of the manifest, what it is). Scores follow, under their own names.
_ABOUT = {
    "file_name": ("", "the video file, beside this table; the loader turns it into the column `video`"),
    "text": ("", "the caption with the highest sample weight, on one line; null where the clip has none"),
    "captions": ("captions", "every caption of the clip: source, model, text, sample_weight, status"),
    "clip_id": ("clip_id", "first 128 bits of sha256 of video_id, start_pts, end_pts, hex"),
    "split": ("split", "train, val or test, by source video; near duplicates are never across splits"),
    "num_frames": ("export_n_frames", "frames of the file"),
    "fps_num": ("export_fps_num", "frames per second of the file, numerator"),
    "fps_den": ("export_fps_den", "frames per second of the file, denominator"),
    "width": ("export_width", "px, of the file"),
    "height": ("export_height", "px, of the file"),
    "sha256": ("sha256", "of the file's bytes"),
    "video_id": ("video_id", "first 128 bits of sha256 of the source file"),
    "source": ("relpath", "the source file, below the folder that was curated"),
    "start_s": ("start_s", "s, where the clip begins in its source"),
    "end_s": ("end_s", "s, where it ends, exclusive"),
    "title": ("title", "title of the source, as given beside it"),
    "tags": ("tags", "tags of the source, as given beside it"),
    "license": ("license", "licence of the source, as given beside it; null where none was stated"),
    "source_url": ("source_url", "where the source is from, as given beside it"),
}


def write_hugging_face(run: RunDir, out: Path, tell: Tell) -> Written:
    """Raises UserError as `write_format`."""
    rows = exported_clips(run)
    facts = read_run_json(run)
    table = metadata(run, rows, facts)
    docs = _docs(table, facts)
    card = card_text(run, table, docs, facts)
    state = fingerprint({"version": HUGGING_FACE_VERSION, "card": card, "rows": table.to_pylist()})

    def fill(folder: Path) -> None:
        write_clips(run, rows, _names(rows, table), folder, tell)
        _describe(rows, table, card, folder)

    reused = publish(out, state, int(rows["size"].sum()), len(rows), fill)
    return Written(out, len(rows), reused=reused)


def metadata(run: RunDir, rows: "pd.DataFrame", facts: dict[str, Any]) -> pa.Table:
    """One row per clip of `rows`, in their order: the columns of `_ABOUT` and the annotators' scores that are plain
    values.

    No path of the machine is in it. Types are the manifest's, in every split alike.
    """
    manifest = read_manifest(run)
    places = pc.index_in(pa.array(rows["clip_id"], pa.string()), manifest["clip_id"].combine_chunks())
    found = manifest.take(places)
    texts = [best_caption(captions) or None for captions in rows["captions"]]
    made = {
        "file_name": pa.array(rows["clip_id"] + rows["suffix"], pa.string()),
        "text": pa.array(texts, pa.string()),
        "captions": found["captions"].cast(pa.list_(schema.CAPTION)),
    }
    columns = {name: made[name] if name in made else found[column] for name, (column, _) in _ABOUT.items()}
    scores = [name for name in facts["columns"] if name in found.column_names and name not in columns]
    columns |= {name: found[name] for name in scores if _is_plain(found[name].type) and not name.startswith("crop_")}
    return pa.table(columns)


def _is_plain(kind: pa.DataType) -> bool:
    return not (
        pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_null(kind)
    )


def _docs(table: pa.Table, facts: dict[str, Any]) -> dict[str, str]:
    """column -> one line with unit and range, and who made it."""
    known, makers = facts.get("column_docs") or {}, facts["columns"]
    return {n: _ABOUT[n][1] if n in _ABOUT else f"{known.get(n, '')} ({makers[n]})".strip() for n in table.column_names}


def _names(rows: "pd.DataFrame", table: pa.Table) -> list[str]:
    return [f"data/{split}/{name}" for split, name in zip(rows["split"], table["file_name"].to_pylist(), strict=True)]


def _describe(rows: "pd.DataFrame", table: pa.Table, card: str, folder: Path) -> None:
    for split in rows["split"].unique():
        write_atomic(folder / "data" / split / "metadata.parquet", table.filter(pc.equal(table["split"], split)))
    (folder / "README.md").write_text(card, encoding="utf-8")
