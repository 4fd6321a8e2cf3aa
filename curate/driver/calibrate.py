"""Subsets for a calibration as in the SVD paper (arXiv 2311.15127, appendix E): drop growing shares of one axis alone,
train the same model on each subset, and let people or a metric say where to cut.

    RUN/calibration/<axis>/all/           every clip with a score: shards, and the manifest
    RUN/calibration/<axis>/drop-25/       the same shards, a manifest of the subset's clips, its frozen policy
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from clipmill.curate.common.files import write_atomic
from clipmill.curate.config import Config
from clipmill.curate.contract import schema
from clipmill.curate.contract.schema import INDEX
from clipmill.curate.engines import Engine
from clipmill.curate.engines.options import RunOptions
from clipmill.curate.errors import UserError
from clipmill.curate.export.driver import export
from clipmill.curate.policy import decisions, waterfall
from clipmill.curate.policy.policy import Filter, Policy, check_columns, policy_id
from clipmill.curate.tables.join import makers, with_decisions, with_shards
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import DECISION_COLUMNS, JOINED_COLUMNS, read_manifest

Side = Literal["lowest", "highest"]


@dataclass(frozen=True)
class Subset:
    """One folder to train on. drop: share that was asked for, 0 to 1. threshold: inclusive, in the axis' unit."""

    folder: Path
    drop: float
    threshold: float
    clips: int
    seconds: float


def calibrate(
    run: RunDir,
    config: Config,
    axis: str,
    drops: Sequence[float],
    base: Policy,
    side: Side,
    engine: Engine,
    options: RunOptions,
) -> list[Subset]:
    """Write the folders; the whole set first. base: filters that hold for all subsets; its own limit on the axis is
    left out.

    drops: shares in (0, 1). side: which end of the axis is dropped. Raises UserError for an unknown column, one that is
    no number, and a run without scores on it.
    """
    manifest = read_manifest(run)
    check_columns(Policy("axis", (Filter(axis),)), [*schema.CLIPS.names, *makers(config), *JOINED_COLUMNS])
    scores = _scores(manifest, axis)
    others = tuple(f for f in base.filters if f.column != axis)
    worst = pc.min(scores).as_py() if side == "lowest" else pc.max(scores).as_py()
    everything = Policy(f"{axis}-all", (*others, _limit(axis, side, worst)))
    root = run.root / "calibration" / axis
    # Its own places, not the run's: an export that is up to date does not write them again.
    whole = _subset(
        RunDir(root / "all"), run, with_shards(manifest, RunDir(root / "all")), config, everything, 0.0, side
    )
    export(RunDir(whole.folder), config.export, policy_id(_frozen(manifest, config, everything)), engine, options)
    exported = read_manifest(RunDir(whole.folder))
    in_all = exported.filter(pc.fill_null(exported["keep"], False))
    subsets = [whole]
    for drop in sorted(drops):
        # The share is of the clips that the whole set holds: the threshold is found on them alone.
        target = Filter(axis, drop_lowest=drop) if side == "lowest" else Filter(axis, drop_highest=drop)
        policy = Policy(
            f"{axis}-drop-{100 * drop:g}", (*others, _frozen(in_all, config, Policy("axis", (target,))).filters[0])
        )
        folder = RunDir(root / f"drop-{100 * drop:g}")
        subset = _subset(folder, run, exported, config, policy, drop, side)
        _share_shards(folder, RunDir(whole.folder))
        subsets.append(subset)
    return subsets


def default_side(config: Config, axis: str) -> Side:
    """The end that the run's own policy cuts; the lowest where it says nothing."""
    rule = config.policy.get(axis, {})
    return (
        "highest" if isinstance(rule, dict) and {"max", "drop_highest"} & set(rule) and "min" not in rule else "lowest"
    )


def _scores(manifest: pa.Table, axis: str) -> pa.ChunkedArray:
    if axis not in manifest.column_names:
        raise UserError(f"this run has no column {axis}: `curate annotate` makes it")
    column = manifest[axis]
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        raise UserError(f"{axis} is no number: a calibration needs an axis with a low and a high end")
    found = column.drop_null()
    if not len(found):
        raise UserError(f"no clip of this run has a score on {axis}")
    return found


def _limit(axis: str, side: Side, value: float) -> Filter:
    return Filter(axis, min=value) if side == "lowest" else Filter(axis, max=value)


def _frozen(manifest: pa.Table, config: Config, policy: Policy) -> Policy:
    undecided = manifest.drop_columns([c for c in DECISION_COLUMNS if c in manifest.column_names])
    return decisions.freeze(policy, decisions.to_frame(undecided), makers(config))


def _subset(
    folder: RunDir, run: RunDir, manifest: pa.Table, config: Config, policy: Policy, drop: float, side: Side
) -> Subset:
    """A folder's manifest and decisions: all clips of the run, of which those outside the subset lie in no shard."""
    folder.root.mkdir(parents=True, exist_ok=True)
    undecided = manifest.drop_columns([c for c in DECISION_COLUMNS if c in manifest.column_names])
    frame, known = decisions.to_frame(undecided), makers(config)
    found = decisions.outcomes(decisions.freeze(policy, frame, known), frame, known)
    decisions.save(folder.root, found, waterfall.summary(found))
    decided = with_decisions(undecided, decisions.to_arrow(found))
    keep = pc.fill_null(decided["keep"], False)
    write_atomic(folder.manifest, _only_in_shards(decided, keep))
    shutil.copyfile(run.videos, folder.videos)
    limit = found.policy.filters[-1]
    threshold = limit.min if side == "lowest" else limit.max
    seconds = pc.sum(decided.filter(keep)["duration_s"]).as_py() or 0.0
    return Subset(
        folder.root, drop, float(threshold if threshold is not None else "nan"), int(pc.sum(keep).as_py() or 0), seconds
    )


def _only_in_shards(manifest: pa.Table, keep: pa.ChunkedArray) -> pa.Table:
    for name in INDEX.names:
        if name not in ("clip_id", "split") and name in manifest.column_names:
            column = manifest[name]
            at = manifest.column_names.index(name)
            manifest = manifest.set_column(
                at, manifest.field(at), pc.if_else(keep, column, pa.scalar(None, column.type))
            )
    return manifest


def _share_shards(subset: RunDir, whole: RunDir) -> None:
    """The subset reads the whole set's shards: nothing is encoded or stored twice."""
    if not subset.shards.is_symlink():
        subset.shards.symlink_to(Path("..") / whole.root.name / whole.shards.name, target_is_directory=True)
    shutil.copyfile(whole.root / "shards.parquet", subset.root / "shards.parquet")
