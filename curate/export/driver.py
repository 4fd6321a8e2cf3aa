"""The driver of `curate export`: kept spans to clips in worker processes, resumable by video, then to shards; the
manifest learns where.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from clipmill.curate.common.content import Changed, Digests, State, unchanged
from clipmill.curate.common.files import fingerprint, is_bare, read_json, read_table, write_json
from clipmill.curate.common.log import append_event
from clipmill.curate.common.publish import publish
from clipmill.curate.engines import Engine
from clipmill.curate.engines.options import RunOptions
from clipmill.curate.errors import DecodeError, UserError, is_full_disk, one_line
from clipmill.curate.export.packed_clips import PackedClips
from clipmill.curate.export.record import RECORD, Exported, failures_text, read_record, reasons_of, record_of
from clipmill.curate.inputs.files import known_state, memory_of, path_of, printable
from clipmill.curate.settings.export import SPLITS, ExportConfig
from clipmill.curate.settings.fingerprints import library_version
from clipmill.curate.storage.address import is_address
from clipmill.curate.storage.staging import at_hand
from clipmill.curate.tables.join import INDEX_TABLE, append_shards
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_manifest

if TYPE_CHECKING:
    from clipmill.curate.export.shards import Sample, ShardTables

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
# Status of a clip whose source could not be read, though it was there when the export began: the reason may be gone.
UNREAD = "unread"
# What goes into the JSON of every sample, beside the facts of the file itself.
_META = ("video_id", "relpath", "start_s", "end_s", "caption", "license", "source_url")


@dataclass(frozen=True)
class ExportTask:
    """The kept clips of one video. video, clips: rows of schema.VIDEOS and schema.CLIPS. state: of the source when it
    had the video's sha256; None: not known.
    """

    unit: str
    fingerprint: str
    run: str
    config: ExportConfig
    video: Mapping[str, Any]
    clips: tuple[Mapping[str, Any], ...]
    state: State | None = None


def export_video(task: ExportTask) -> dict[str, Any]:
    """Write the task's clips and the part that lists them. A clip that fails is a row with its reason; all do where the
    source is not, or no longer, the file that the clips were found in. Raises
    UserError or OSError where the disk is full.
    """
    run = RunDir(Path(task.run))
    folder = run.shards / ".clips"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    try:
        with _source(task) as path, unchanged(path, task.video["sha256"], task.state):
            for result in _write_clips(task, folder):
                rows.append(result)
    except Changed as error:
        rows = [_failed(clip["clip_id"], one_line(error), UNREAD) for clip in task.clips]
    except (OSError, DecodeError) as error:
        if is_full_disk(error):
            raise
        done, status = {row["clip_id"] for row in rows}, UNREAD if isinstance(error, OSError) else "error"
        rows += [
            _failed(clip["clip_id"], one_line(error), status) for clip in task.clips if clip["clip_id"] not in done
        ]
    run.write(TABLE, task.unit, task.fingerprint, pa.Table.from_pylist(rows, schema=ENCODED))
    return {
        "status": "ok",
        "exported": sum(r["status"] == "ok" for r in rows),
        "failed": sum(r["status"] != "ok" for r in rows),
    }


def _source(task: ExportTask) -> AbstractContextManager[Path]:
    """The source as a file, fetched where it lies elsewhere. Raises OSError."""
    uri = task.video["uri"]
    return at_hand(uri) if is_address(uri) else nullcontext(path_of(uri))


def _write_clips(task: ExportTask, folder: Path) -> Any:
    from clipmill.curate.export.encode import ClipError, encode_clips
    from clipmill.curate.export.stream_copy import copy_clip, copy_suffix

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


def _failed(clip_id: str, message: str, status: str = "error") -> dict[str, Any]:
    return {"clip_id": clip_id, "status": status, "error": message}


def export(
    run: RunDir,
    config: ExportConfig,
    policy_id: str,
    engine: Engine,
    options: RunOptions,
    facts: Mapping[str, Any] | None = None,
) -> Exported:
    """Write the shards of the manifest's kept clips beside those that are there; then the manifest, shards.parquet and
    run.json (facts, None: it stays) change as one and say where every clip lies.

    Nothing is encoded again that an interrupted export wrote, or an earlier one in the same way, whatever clips have
    come or gone since. Raises UserError where the disk fills up, where a source video that is needed is gone (nothing
    is changed then), and where no clip at all could be written and there are earlier shards (they stay).
    """
    from clipmill.curate.engines import prepare_worker
    from clipmill.curate.export.shards import write_shards

    manifest = read_manifest(run)
    kept = manifest.filter(pc.fill_null(manifest["keep"], False))
    tasks = _tasks(run, kept, config)
    state = fingerprint(
        {"units": {t.unit: t.fingerprint for t in tasks}, "config": asdict(config), "policy": policy_id}
    )
    done = read_record(run, state, manifest)
    unread = [] if done is not None and not done.failed else [task for task in tasks if _is_unread(run, task)]
    if done is not None and not any(_is_here(task) for task in unread):
        shutil.rmtree(run.shards / ".clips", ignore_errors=True)
        if facts is not None:
            write_json(run.run_json, facts, synced=True)
        return done
    away = {task.unit for task in unread if not _is_here(task)}
    packed = PackedClips(run, manifest, options.tell)
    todo = _with_states(run, [t for t in tasks if t.unit not in away and not _unit_is_done(run, t, packed, options)])
    _check_sources(todo)
    run.shards.mkdir(parents=True, exist_ok=True)
    deadline = partial(_deadline_s, options)
    with options.progress("exporting", len(todo), "videos") as bar:
        for outcome in engine.map(export_video, todo, deadline, prepare_worker):
            if outcome.status != "ok":
                _record_failure(run, outcome.task, outcome.message or outcome.status)
            event = {"unit": outcome.task.unit, "stage": "export", "status": outcome.status, "message": outcome.message}
            append_event(run.events, event | (outcome.value or {}))
            bar.advance()
    run.remove_others(TABLE, {task.unit: task.fingerprint for task in tasks})
    samples, errors = _collect(run, kept, tasks)
    done = Exported(0, len(samples), len(errors), reasons=reasons_of(errors))
    _check_worth(manifest, done)
    tables = write_shards(samples, run.shards, config, policy_id)
    done = replace(done, shards=len(tables.shards))
    _publish(run, manifest, tables, record_of(state, tables.shards["shard"].to_pylist(), done), facts)
    shutil.rmtree(run.shards / ".clips", ignore_errors=True)
    return done


def _tasks(run: RunDir, kept: pa.Table, config: ExportConfig) -> list[ExportTask]:
    videos = {row["video_id"]: row for row in read_table(run.videos).to_pylist() if row["status"] in ("ok", "partial")}
    clips: dict[str, list[dict[str, Any]]] = {}
    for row in kept.drop_columns(["captions"]).to_pylist():
        if row["video_id"] not in videos or row["split"] not in SPLITS:
            raise UserError(
                f"{run.manifest}: the clip {row['clip_id']} is of no video of {run.videos.name}, or of no split of"
                f" {', '.join(SPLITS)}: `curate run` makes both again"
            )
        clips.setdefault(row["video_id"], []).append(row)
    how = {k: v for k, v in asdict(config).items() if k not in ("shard_clips", "shard_bytes", "split")}
    tasks = []
    for unit, rows in sorted(clips.items()):
        facts = {
            "version": EXPORT_VERSION,
            "av": library_version("av"),
            "how": how,
            "clips": [_geometry(r) for r in rows],
        }
        tasks.append(ExportTask(unit, fingerprint(facts), str(run.root), config, videos[unit], tuple(rows)))
    return tasks


def _geometry(row: Mapping[str, Any]) -> list[Any]:
    return [
        row[k] for k in ("clip_id", "crop_x", "crop_y", "crop_w", "crop_h", "keyframe_start_pts", "keyframe_end_pts")
    ]


def _with_states(run: RunDir, tasks: Sequence[ExportTask]) -> list[ExportTask]:
    """With what is remembered of the source files, so that they need not be hashed again."""
    facts = read_json(run.run_json) if run.run_json.is_file() else {}
    digests = Digests(memory_of(facts.get("inputs", ())))
    return [replace(t, state=known_state(digests, path_of(t.video["uri"]), t.video["sha256"])) for t in tasks]


def _check_sources(tasks: Sequence[ExportTask]) -> None:
    """Before any work: a moved folder would make every clip an error, and the shards that are there worthless."""
    gone = [path_of(task.video["uri"]) for task in tasks if not _is_here(task)]
    if gone:
        raise UserError(
            f"{len(gone)} of the {len(tasks)} source videos to export from cannot be reached, for example"
            f" {printable(str(gone[0]))}: `curate run NEWPLACE --out RUN`, with the options of that run, tells the run"
            " where its videos are now, and --drop-missing takes out those that it does not find"
        )


def _deadline_s(options: RunOptions, task: ExportTask) -> float:
    hashing_s = (task.video["size_bytes"] or 0) / 1e7
    return options.timeout_s or 300.0 + hashing_s + 30.0 * sum(clip["duration_s"] for clip in task.clips)


def _unit_is_done(run: RunDir, task: ExportTask, packed: PackedClips, options: RunOptions) -> bool:
    """Where a source could not be read, or no clip could be written, it is tried again: the reason may be gone, such as
    a disk that was away. So is what lost its content since, as when the power fails. Clips of an earlier export are
    taken from its shards.
    """
    try:
        found_rows = run.rows(TABLE, task.unit, task.fingerprint, ENCODED)
        if found_rows is None:
            return False
        found = found_rows.to_pylist()
    except (UserError, KeyError):
        options.tell(f"exporting {task.video['relpath']} again: its list of clips is damaged")
        return False
    rows = [row for row in found if row["status"] == "ok"]
    clips = run.shards / ".clips"
    there = [
        row for row in rows if is_bare(row["file"]) and ((clips / row["file"]).exists() or packed.unpack(row, clips))
    ]
    damaged = [row["file"] for row in there if not _holds(clips / row["file"], row)]
    if damaged:
        options.tell(
            f"exporting {task.video['relpath']} again: {len(damaged)} of its written clips are damaged,"
            f" for example {damaged[0]}"
        )
    unread = any(row["status"] == UNREAD for row in found)
    return bool(rows) and len(there) == len(rows) and not damaged and not unread


def _is_unread(run: RunDir, task: ExportTask) -> bool:
    """Whether the source could not be read when it was tried last."""
    try:
        rows = run.rows(TABLE, task.unit, task.fingerprint, columns=["status"])
        return rows is not None and UNREAD in rows["status"].to_pylist()
    except UserError:  # damaged: it is made again
        return False


def _is_here(task: ExportTask) -> bool:
    return is_address(task.video["uri"]) or os.path.isfile(path_of(task.video["uri"]))


def _holds(path: Path, row: Mapping[str, Any]) -> bool:
    """Whether the file is the one that was verified."""
    if path.stat().st_size != row["size_bytes"]:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == row["sha256"]


def _record_failure(run: RunDir, task: ExportTask, message: str) -> None:
    rows = [_failed(clip["clip_id"], message) for clip in task.clips]
    run.write(TABLE, task.unit, task.fingerprint, pa.Table.from_pylist(rows, schema=ENCODED))


def _publish(
    run: RunDir,
    manifest: pa.Table,
    tables: "ShardTables",
    record: Mapping[str, Any],
    facts: Mapping[str, Any] | None,
) -> None:
    files: dict[str, Any] = {"shards.parquet": tables.shards, INDEX_TABLE: tables.index, RECORD: record}
    publish(
        run.root,
        append_shards(manifest, tables.index),
        files if facts is None else files | {run.run_json.name: facts},
    )


def _collect(run: RunDir, kept: pa.Table, tasks: Sequence[ExportTask]) -> tuple[list["Sample"], list[str]]:
    """The clips that were written, and the error of each that was not."""
    from clipmill.curate.export.encode import EncodedClip
    from clipmill.curate.export.shards import Sample

    found = (run.rows(TABLE, task.unit, task.fingerprint, ENCODED) for task in tasks)
    rows = [row for table in found if table is not None for row in table.to_pylist()]
    about = {row["clip_id"]: row for row in kept.select(["clip_id", "split", *_META]).to_pylist()}
    samples: list[Sample] = []
    errors: list[str] = []
    for row in rows:
        error = row.pop("error")
        if row.pop("status") != "ok":
            errors.append(error)
            continue
        clip = EncodedClip(path=run.shards / ".clips" / row.pop("file"), **row)
        samples.append(Sample(clip, about[clip.clip_id]["split"], {name: about[clip.clip_id][name] for name in _META}))
    return samples, errors


def _check_worth(manifest: pa.Table, done: Exported) -> None:
    """Shards are never replaced by nothing."""
    earlier = "shard" in manifest.column_names and manifest["shard"].null_count < len(manifest)
    if done.failed and not done.clips and earlier:
        raise UserError(
            f"{failures_text(done.failed, done.reasons)}, which is all of them: the shards of the earlier export stay"
        )
