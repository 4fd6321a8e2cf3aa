"""The driver of `curate export`: kept spans to clips in worker processes, resumable by video, then to shards; the manifest learns where."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate.engines import Engine
from curate.errors import DecodeError
from curate.export_config import ExportConfig
from curate.fingerprints import library_version
from curate.join import append_shards
from curate.log import append_event, progress
from curate.manifest import RunDir, fingerprint, read_table, write_atomic, write_json
from curate.options import RunOptions
from curate.sources import path_of
from curate.video import one_line

EXPORT_VERSION = 1
TABLE = "exports"
ENCODED = pa.schema(
    [
        ("clip_id", pa.string()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("file", pa.string()),
        ("n_frames", pa.int64()),
        ("fps_num", pa.int32()),
        ("fps_den", pa.int32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("size_bytes", pa.int64()),
        ("sha256", pa.string()),
        ("codec", pa.string()),
    ]
)
# What goes into the JSON of every sample, beside the facts of the file itself.
_META = ("video_id", "relpath", "start_s", "end_s", "caption", "license", "source_url")


@dataclass(frozen=True)
class ExportTask:
    """The kept clips of one video. video, clips: rows of schema.VIDEOS and schema.CLIPS."""

    unit: str
    fingerprint: str
    run: str
    config: ExportConfig
    video: Mapping[str, Any]
    clips: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Exported:
    """What an export left: numbers of shards, clips, failed clips; whether the shards were there already."""

    shards: int
    clips: int
    failed: int
    reused: bool = False


def export_video(task: ExportTask) -> dict[str, Any]:
    """Write the task's clips and the part that lists them. A clip that fails is a row with its reason."""
    run = RunDir(Path(task.run))
    folder = run.shards / ".clips"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    try:
        for result in _write_clips(task, folder):
            rows.append(result)
    except (OSError, DecodeError) as error:
        done = {row["clip_id"] for row in rows}
        rows += [_failed(clip["clip_id"], one_line(error)) for clip in task.clips if clip["clip_id"] not in done]
    run.write(TABLE, task.unit, task.fingerprint, pa.Table.from_pylist(rows, schema=ENCODED))
    return {"status": "ok", "exported": sum(r["status"] == "ok" for r in rows), "failed": sum(r["status"] != "ok" for r in rows)}


def _write_clips(task: ExportTask, folder: Path) -> Any:
    from curate.encode import ClipError, encode_clips
    from curate.stream_copy import copy_clip, copy_suffix

    source = path_of(task.video["uri"])
    if not task.config.copy:
        for result in encode_clips(source, task.video, task.clips, task.config, folder):
            yield _failed(result.clip_id, result.message) if isinstance(result, ClipError) else _encoded(result)
        return
    suffix = copy_suffix(task.video["video_codec"])
    for clip in task.clips:
        try:
            yield _encoded(copy_clip(source, task.video, clip, folder / f"{clip['clip_id']}{suffix}"))
        except DecodeError as error:
            yield _failed(clip["clip_id"], one_line(error))


def _encoded(clip: Any) -> dict[str, Any]:
    row = asdict(clip)
    return {"status": "ok", "file": row.pop("path").name, **row}


def _failed(clip_id: str, message: str) -> dict[str, Any]:
    return {"clip_id": clip_id, "status": "error", "error": message}


def export(run: RunDir, config: ExportConfig, policy_id: str, engine: Engine, options: RunOptions) -> Exported:
    """Write the shards of the manifest's kept clips; the manifest and shards.parquet then say where every clip lies.

    Nothing is encoded again that an interrupted or earlier export of the same clips already wrote. Raises UserError where
    the disk fills up.
    """
    from curate.work import prepare_worker

    manifest = read_table(run.manifest)
    kept = manifest.filter(pc.fill_null(manifest["keep"], False))
    tasks = _tasks(run, kept, config)
    state = fingerprint({"units": {t.unit: t.fingerprint for t in tasks}, "config": asdict(config), "policy": policy_id})
    if _is_current(run, state):
        table = read_table(run.root / "shards.parquet")
        return Exported(len(table), int(pc.sum(table["n_clips"]).as_py() or 0), 0, reused=True)
    run.shards.mkdir(parents=True, exist_ok=True)
    todo = [t for t in tasks if not _unit_is_done(run, t)]
    deadline = partial(_deadline_s, options)
    with progress("exporting", len(todo), "videos") as bar:
        for outcome in engine.map(export_video, todo, deadline, prepare_worker):
            if outcome.status != "ok":
                _record_failure(run, outcome.task, outcome.message or outcome.status)
            event = {"unit": outcome.task.unit, "stage": "export", "status": outcome.status, "message": outcome.message}
            append_event(run.events, event | (outcome.value or {}))
            bar.advance()
    return _pack(run, manifest, kept, tasks, config, policy_id, state)


def _tasks(run: RunDir, kept: pa.Table, config: ExportConfig) -> list[ExportTask]:
    videos = {row["video_id"]: row for row in read_table(run.videos).to_pylist() if row["status"] in ("ok", "partial")}
    clips: dict[str, list[dict[str, Any]]] = {}
    for row in kept.drop_columns(["captions"]).to_pylist():
        clips.setdefault(row["video_id"], []).append(row)
    how = {k: v for k, v in asdict(config).items() if k not in ("shard_clips", "shard_bytes", "split")}
    tasks = []
    for unit, rows in sorted(clips.items()):
        facts = {"version": EXPORT_VERSION, "av": library_version("av"), "how": how, "clips": [_geometry(r) for r in rows]}
        tasks.append(ExportTask(unit, fingerprint(facts), str(run.root), config, videos[unit], tuple(rows)))
    return tasks


def _geometry(row: Mapping[str, Any]) -> list[Any]:
    return [row[k] for k in ("clip_id", "crop_x", "crop_y", "crop_w", "crop_h", "keyframe_start_pts", "keyframe_end_pts")]


def _deadline_s(options: RunOptions, task: ExportTask) -> float:
    return options.timeout_s or 300.0 + 30.0 * sum(clip["duration_s"] for clip in task.clips)


def _unit_is_done(run: RunDir, task: ExportTask) -> bool:
    part = run.part(TABLE, task.unit, task.fingerprint)
    if not part.exists():
        return False
    files = [row["file"] for row in read_table(part).to_pylist() if row["status"] == "ok"]
    return all((run.shards / ".clips" / name).exists() for name in files)


def _record_failure(run: RunDir, task: ExportTask, message: str) -> None:
    rows = [_failed(clip["clip_id"], message) for clip in task.clips]
    run.write(TABLE, task.unit, task.fingerprint, pa.Table.from_pylist(rows, schema=ENCODED))


def _is_current(run: RunDir, state: str) -> bool:
    try:
        saved = json.loads((run.shards / "export.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return saved.get("state") == state and all((run.shards / name).exists() for name in saved["shards"])


def _pack(
    run: RunDir, manifest: pa.Table, kept: pa.Table, tasks: Sequence[ExportTask], config: ExportConfig, policy_id: str, state: str
) -> Exported:
    from curate.encode import EncodedClip
    from curate.shards import Sample, write_shards

    folder = run.shards / ".clips"
    rows = [row for task in tasks for row in read_table(run.part(TABLE, task.unit, task.fingerprint), ENCODED).to_pylist()]
    about = {row["clip_id"]: row for row in kept.select(["clip_id", "split", *_META]).to_pylist()}
    samples = []
    for row in rows:
        if row.pop("status") != "ok":
            continue
        row.pop("error")
        clip = EncodedClip(path=folder / row.pop("file"), **row)
        samples.append(Sample(clip, about[clip.clip_id]["split"], {name: about[clip.clip_id][name] for name in _META}))
    tables = write_shards(samples, run.shards, config, policy_id)
    write_atomic(run.root / "shards.parquet", tables.shards)
    write_atomic(run.shards / "index.parquet", tables.index)
    write_atomic(run.manifest, append_shards(manifest, tables.index))
    failed = len(rows) - len(samples)
    write_json(run.shards / "export.json", {"state": state, "shards": tables.shards["shard"].to_pylist(), "failed": failed})
    shutil.rmtree(folder, ignore_errors=True)
    return Exported(len(tables.shards), len(samples), failed)
