"""A finished run, opened: run.json, the manifest, the configuration that made it."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from clipmill.curate.common.files import read_json, read_table
from clipmill.curate.common.memory import check_unpacked
from clipmill.curate.common.publish import manifest_files, newest, settle
from clipmill.curate.common.shapes import described
from clipmill.curate.config import Config, load_tree
from clipmill.curate.contract import schema
from clipmill.curate.errors import UserError
from clipmill.curate.tables.manifest import Manifest
from clipmill.curate.tables.run_dir import RunDir

RUN_SHAPE: dict[str, Any] = {
    "command": str,
    "inputs": [str],
    "seconds": float,
    "versions": {str: str},
    "config": {"preset": str, "annotators": [str], "parameters": {str: dict}, "policy": dict, "export": dict},
    "policy": str,
    "counts": {str: int},
    "failed_scores": {str: int},
    "columns": {str: str},
    "column_docs": {str: str},
    "processed": {"videos": float, "frames_decoded": float, "stage_seconds": {str: float}},
    "export_before": dict,
}


def check_folder(run: RunDir) -> None:
    """Raises UserError where there is no such folder."""
    if not run.root.is_dir():
        raise UserError(f"there is no folder {run.root}; `curate run VIDEOS --out {run.root}` makes a run there")


def no_run(run: RunDir) -> UserError:
    """What is said of a folder that holds nothing of a run."""
    return UserError(f"{run.root} is no run directory: no run.json; `curate run VIDEOS --out {run.root}` makes one")


def read_manifest(run: RunDir, columns: Sequence[str] | None = None, where: str | None = None) -> pa.Table:
    """The manifest, one file or a folder of files, or these columns of it, or the rows for which an SQL condition is
    true. Raises UserError, one line, where the folder is no finished run, a file is damaged, or it is none that can be
    believed (see `checked`).
    """
    return open_manifest(run).read(columns, where)


def open_manifest(run: RunDir) -> Manifest:
    """The manifest of a finished run. Raises UserError where there is none."""
    check_folder(run)
    settle(run.root)
    files = manifest_files(run.root)
    if not files.switch.is_file():
        raise UserError(
            f"{run.root} is no finished run: there is no manifest.parquet; start with `curate run VIDEOS --out"
            f" {run.root}`"
        )
    return Manifest(files)


def read_exported(run: RunDir) -> pa.Table:
    """`read_manifest` of a run with exported clips. Raises UserError also where there are none, or a shard is lost."""
    manifest = read_manifest(run)
    shards = manifest["shard"].unique().drop_null().to_pylist() if "shard" in manifest.column_names else []
    if not shards:
        raise UserError(f"{run.root} has no exported clips: `curate export {run.root}` writes them")
    lost = sorted(name for name in shards if not (run.shards / name).is_file())
    if lost:
        raise UserError(
            f"{run.shards} does not hold {lost[0]} ({len(lost)} shards missing): bring it back, or `curate export"
            f" {run.root}` again"
        )
    return manifest


def read_videos(run: RunDir) -> pa.Table:
    """videos.parquet. Raises UserError where the run has none yet."""
    path = newest(run.root, run.videos.name)
    if not path.exists():
        raise UserError(f"{run.root} is no finished run: there is no videos.parquet")
    check_unpacked(path)
    return read_table(path, schema.VIDEOS)


def read_run_json(run: RunDir) -> dict[str, Any]:
    """run.json. Raises UserError where it is missing, damaged or holds something else, and for a key that it lacks."""
    check_folder(run)
    path = newest(run.root, run.run_json.name)
    if not path.is_file():
        raise no_run(run)
    return described(read_json(path), RUN_SHAPE, str(path))


def config_of(run: RunDir, overrides: Sequence[str] = ()) -> Config:
    """The configuration that made the run, with `key=value` overrides."""
    return load_tree(read_run_json(run)["config"], overrides)
