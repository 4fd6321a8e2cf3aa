"""Read a run directory into plain tables; the rest of the report never touches the disk, except for the pictures."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from clipmill.curate.common.files import read_json, read_table, readable
from clipmill.curate.common.publish import FOLDER, POINTER, manifest_files, settle
from clipmill.curate.common.shapes import described
from clipmill.curate.contract import schema
from clipmill.curate.policy.by_hand import path_of_hand
from clipmill.curate.policy.decisions import CLIP_OUTCOMES as OUTCOMES
from clipmill.curate.policy.decisions import NOTE_SHAPE, to_frame
from clipmill.curate.policy.policy import Policy, from_json
from clipmill.curate.report import fmt
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import RUN_SHAPE, no_run, open_manifest

NESTED_COLUMNS = ("score_status", "failed_filters")


@dataclass(frozen=True)
class Decided:
    """One frozen policy and what it decided.

    note: decisions/<name>.json (waterfall, counts, overlap, joint); {} where only the decisions are there.
    outcome: int8 [n_clips], index into OUTCOMES, in the order of the run's clips; -1 where the policy has no row for
    the clip.
    failed: the failed filters of each clip, in the policy's order.
    """

    policy: Policy
    note: dict[str, Any]
    outcome: np.ndarray
    failed: list[list[str]]

    @property
    def name(self) -> str:
        """The policy's name."""
        return self.policy.name


@dataclass(frozen=True)
class Run:
    """The tables of a run. clips: the manifest sorted by clip_id, which is a hash, so any prefix is a uniform sample
    keyed by content.

    makers: column -> annotator table, such as "motion.v1". looked: annotator -> bool [n_clips], it has a status for the
    clip other than not_run; empty where the manifest has no statuses. clip_errors: clip_id, annotator, error.
    policies: the run's own policy first, then by name.
    """

    folder: Path
    info: dict[str, Any]
    videos: pd.DataFrame
    clips: pd.DataFrame
    makers: dict[str, str]
    looked: dict[str, np.ndarray]
    clip_errors: pd.DataFrame
    policies: list[Decided]
    shards: pd.DataFrame

    @property
    def inputs(self) -> list[str]:
        """Names of what was curated, without their folders: pages are passed on."""
        return [Path(str(place)).name or str(place) for place in self.info.get("inputs") or []]


def load_run(folder: Path) -> Run:
    """Read everything but the pictures. Raises UserError where the folder is no run or a file of it is unreadable."""
    if not any((folder / name).exists() for name in ("run.json", POINTER, FOLDER, "videos", "decisions")):
        raise no_run(RunDir(folder))
    settle(folder)
    info = described(_read_json(folder / "run.json"), RUN_SHAPE, str(folder / "run.json"))
    manifest = _manifest(folder)
    manifest = manifest.take(pc.sort_indices(manifest["clip_id"]))
    clips = to_frame(manifest)
    makers = {str(k): str(v) for k, v in (info.get("columns") or {}).items()}
    return Run(
        folder=folder,
        info=info,
        videos=to_frame(_videos(folder)).sort_values("relpath", kind="stable", ignore_index=True),
        clips=clips,
        makers=makers,
        looked=_looked(manifest),
        clip_errors=_clip_errors(folder, set(makers.values()), set(clips["clip_id"])),
        policies=_policies(folder, clips, str(info.get("policy") or "")),
        shards=to_frame(read_file(folder / "shards.parquet", schema.SHARDS)),
    )


def _manifest(folder: Path) -> pa.Table:
    """What the report shows of it; no rows before a run is finished."""
    if not manifest_files(folder).switch.exists():
        return schema.CLIPS.empty_table()
    manifest = open_manifest(RunDir(folder))
    return manifest.read([f.name for f in manifest.schema if f.name in NESTED_COLUMNS or _is_scalar(f.type)])


def _is_scalar(kind: pa.DataType) -> bool:
    """A number, a truth value or a text; not a list or the bytes of a small picture."""
    binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    return not (binary or pa.types.is_nested(kind))


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object; {} where the file is absent. Raises UserError where it is not one."""
    return read_json(path) if path.exists() else {}


def read_file(path: Path, empty: pa.Schema) -> pa.Table:
    """One Parquet file; an empty table of the given schema where it is absent."""
    return read_table(path) if path.exists() else empty.empty_table()


def part_files(folder: Path) -> list[Path]:
    """The finished part files of a table, by name."""
    return sorted(folder.glob("*.parquet")) if folder.is_dir() else []


def read_parts(folder: Path, columns: pa.Schema) -> pa.Table:
    """All parts of a table, in the columns of `columns`; a column that a part lacks is null."""
    parts = part_files(folder)
    if not parts:
        return columns.empty_table()
    with readable(folder):
        return ds.dataset([str(p) for p in parts], schema=columns, format="parquet").to_table()


def _looked(manifest: pa.Table) -> dict[str, np.ndarray]:
    """The map column score_status, one array per annotator, without a Python object per clip."""
    if "score_status" not in manifest.column_names:
        return {}
    maps = manifest["score_status"].combine_chunks()
    offsets = maps.offsets.to_numpy()
    row, span = np.repeat(np.arange(len(maps)), np.diff(offsets)), slice(offsets[0], offsets[-1])
    annotator, status = (part.to_numpy(zero_copy_only=False)[span] for part in (maps.keys, maps.items))
    found = {str(name): np.zeros(len(maps), bool) for name in sorted(set(annotator))}
    for name, looked in found.items():
        looked[row[(annotator == name) & (status != "not_run")]] = True
    return found


def _videos(folder: Path) -> pa.Table:
    """videos.parquet, the files of the last run; before a run is finished, the parts there are."""
    joined = folder / "videos.parquet"
    return (
        read_file(joined, schema.VIDEOS).select(schema.VIDEOS.names)
        if joined.exists()
        else read_parts(folder / "videos", schema.VIDEOS)
    )


def _clip_errors(folder: Path, in_use: set[str], known: set[str]) -> pd.DataFrame:
    """Failures on the manifest's clips, of the annotation tables in use (run.json names them; without it, the newest of
    each).
    """
    found = [p for p in sorted((folder / "annotations").glob("*.v*")) if p.is_dir()]
    newest = {
        p.name.rsplit(".v", 1)[0]: p for p in sorted(found, key=lambda p: int(re.sub(r".*\.v(\d+)$", r"\1", p.name)))
    }
    wanted = [p for p in found if p.name in in_use] or [newest[k] for k in sorted(newest)]
    keys = pa.schema(list(schema.ANNOTATION_KEYS.items()))
    tables = []
    for path in wanted:
        table = read_parts(path, keys).to_pandas()
        table = table[(table["status"] == "error") & table["clip_id"].isin(known)].sort_values("clip_id", kind="stable")
        tables.append(table.assign(annotator=path.name.rsplit(".v", 1)[0])[["clip_id", "annotator", "error"]])
    empty = pd.DataFrame({"clip_id": [], "annotator": [], "error": []}, dtype=object)
    return pd.concat(tables, ignore_index=True) if tables else empty


def _policies(folder: Path, clips: pd.DataFrame, primary: str) -> list[Decided]:
    """Every decisions/*.parquet; without any, the decisions that the manifest carries."""
    parts = [path for path in part_files(folder / "decisions") if path != path_of_hand(folder)]
    parts.sort(key=lambda p: (p.stem != primary, p.stem))
    tables = [(p.stem, to_frame(read_file(p, schema.DECISIONS)), _note(p.with_suffix(".json"))) for p in parts]
    if not tables and {"outcome", "failed_filters"} <= set(clips.columns) and len(clips):
        tables = [(primary or "policy", clips, {})]
    return [_decided(name, table, note, clips["clip_id"]) for name, table, note in tables]


def _note(path: Path) -> dict[str, Any]:
    return described(_read_json(path), NOTE_SHAPE, str(path))


def _decided(name: str, table: pd.DataFrame, note: dict[str, Any], ids: pd.Series) -> Decided:
    rows = table[["clip_id", "outcome", "failed_filters"]].drop_duplicates("clip_id").set_index("clip_id").reindex(ids)
    codes = rows["outcome"].map({o: i for i, o in enumerate(OUTCOMES)}).fillna(-1).to_numpy(np.int8)
    filters = tuple(from_json({"requested": None} | row) for row in note.get("filters") or [])
    failed = [[] if fmt.is_missing(v) else [str(f) for f in v] for v in rows["failed_filters"]]
    return Decided(Policy(str(note.get("name") or name), filters), note, codes, failed)
