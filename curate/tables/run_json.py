"""A finished run, opened: run.json, the manifest, the configuration that made it."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from clipmill.curate.common.files import read_table
from clipmill.curate.config import Config, load_tree
from clipmill.curate.errors import UserError
from clipmill.curate.tables.run_dir import RunDir

JOINED_COLUMNS = {
    "dup_group_id": "smallest clip id of the group of near duplicates; null where the clip has none",
    "dup_rank": (
        "0 = the one to keep of its group, or alone; then larger before smaller, longer before shorter, sharper before"
        " softer"
    ),
    "dup_of": "clip id of the group's rank 0; null for that one and where the clip has no duplicate",
    "semantic_group_id": (
        "smallest clip id of the group of clips alike by CLIP's embeddings; null where the clip has none"
    ),
    "semantic_rank": (
        "0 = the one to keep of its group, or alone (dedup.semantic_keep says by what); null without embeddings"
    ),
    "semantic_of": "clip id of the semantic group's rank 0; null for that one and where there is no group",
    "split": "train | val | test, by source video; duplicates are never across splits",
}


DECISION_COLUMNS = ("keep", "outcome", "failed_filters", "margins")


def read_manifest(run: RunDir) -> pa.Table:
    """manifest.parquet. Raises UserError where the run has none yet."""
    if not run.manifest.exists():
        raise UserError(
            f"{run.root} is no finished run: there is no manifest.parquet; start with `curate run VIDEOS --out"
            f" {run.root}`"
        )
    return read_table(run.manifest)


def read_run_json(run: RunDir) -> dict[str, Any]:
    """run.json. Raises UserError where it is missing or damaged."""
    try:
        return json.loads(run.run_json.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{run.root} is no run directory: cannot read run.json") from error


def config_of(run: RunDir, overrides: Sequence[str] = ()) -> Config:
    """The configuration that made the run, with `key=value` overrides."""
    return load_tree(read_run_json(run)["config"], overrides)
