"""Subsets for a calibration as in the SVD paper (arXiv 2311.15127, appendix E): drop growing shares of one axis alone,
train the same model on each subset, and let people or a metric say where to cut.

    RUN/calibration/<axis>/all/           every clip with a score: shards, and the manifest
    RUN/calibration/<axis>/drop-25/       the same shards, a manifest of the subset's clips, its frozen policy
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from clipmill.curate.common.files import read_table
from clipmill.curate.common.publish import publish
from clipmill.curate.config import Config
from clipmill.curate.contract import schema
from clipmill.curate.contract.schema import INDEX, JOINED_COLUMNS
from clipmill.curate.driver.pipeline import Work, write_shards
from clipmill.curate.errors import UserError
from clipmill.curate.export.old_shards import remove_old_shards
from clipmill.curate.policy import decisions, waterfall
from clipmill.curate.policy.policy import Filter, Policy, check_columns
from clipmill.curate.tables.join import makers, with_decisions, with_shards
from clipmill.curate.tables.manifest import DECISION_COLUMNS
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_manifest

Side = Literal["lowest", "highest"]


@dataclass(frozen=True)
class Question:
    """What is calibrated. axis: the column. side: which end of it is dropped. base: filters that hold for all subsets;
    its own limit on the axis is left out.
    """

    axis: str
    side: Side
    base: Policy

    @property
    def others(self) -> tuple[Filter, ...]:
        """The filters of `base` on other columns."""
        return tuple(f for f in self.base.filters if f.column != self.axis)

    def limit(self, value: float) -> Filter:
        """The axis limited to what is not beyond `value`."""
        return Filter(self.axis, min=value) if self.side == "lowest" else Filter(self.axis, max=value)

    def target(self, drop: float) -> Filter:
        """The axis without a share of the clips."""
        return Filter(self.axis, drop_lowest=drop) if self.side == "lowest" else Filter(self.axis, drop_highest=drop)


@dataclass(frozen=True)
class Subset:
    """One folder to train on. drop: share that was asked for, 0 to 1. threshold: inclusive, in the axis' unit. side: of
    the axis that is dropped.
    """

    folder: Path
    drop: float
    threshold: float
    clips: int
    seconds: float
    side: Side


def calibrate(work: Work, question: Question, drops: Sequence[float]) -> list[Subset]:
    """Write the folders; the whole set first. drops: shares in (0, 1). Raises UserError for an unknown column, one that
    is no number, and a run without scores on it.
    """
    config, axis, manifest = work.config, question.axis, read_manifest(work.run)
    check_columns(Policy("axis", (Filter(axis),)), [*schema.CLIPS.names, *makers(config), *JOINED_COLUMNS])
    scores = _scores(manifest, axis)
    worst = pc.min(scores).as_py() if question.side == "lowest" else pc.max(scores).as_py()
    everything = Policy(f"{axis}-all", (*question.others, question.limit(worst)))
    root = work.run.root / "calibration" / axis
    # Its own places, not the run's: an export that is up to date does not write them again.
    folder = RunDir(root / "all")
    subsets = [_subset(folder, work, with_shards(manifest, folder), everything, question.side)]
    write_shards(replace(work, run=folder), _frozen(manifest, config, everything))
    exported = read_manifest(folder)
    in_all = exported.filter(pc.fill_null(exported["keep"], False))
    whole = read_table(folder.root / "shards.parquet")
    for drop in sorted(drops):
        # The share is of the clips that the whole set holds: the threshold is found on them alone.
        found = _frozen(in_all, config, Policy("axis", (question.target(drop),))).filters[0]
        part = RunDir(root / f"drop-{100 * drop:g}")
        policy = Policy(f"{axis}-drop-{100 * drop:g}", (*question.others, found))
        _share_shards(part, folder)
        shares = {"shards.parquet": whole}
        subsets.append(replace(_subset(part, work, exported, policy, question.side, shares), drop=drop))
    remove_old_shards(folder)  # only now: until its turn came each subset was of the old ones
    return subsets


def side_of(word: str, config: Config, axis: str) -> Side:
    """auto, lowest or highest -> the end to drop. Raises UserError for another word."""
    if word == "auto":
        return default_side(config, axis)
    if word not in ("lowest", "highest"):
        raise UserError(f"--side is auto, lowest or highest, not {word!r}")
    return "lowest" if word == "lowest" else "highest"


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


def _frozen(manifest: pa.Table, config: Config, policy: Policy) -> Policy:
    undecided = manifest.drop_columns([c for c in DECISION_COLUMNS if c in manifest.column_names])
    return decisions.freeze(policy, decisions.to_frame(undecided), makers(config))


def _subset(
    folder: RunDir,
    work: Work,
    manifest: pa.Table,
    policy: Policy,
    side: Side,
    more: Mapping[str, pa.Table] = MappingProxyType({}),
) -> Subset:
    """A folder's manifest and decisions, and more tables, as one: all clips of the run, of which those outside the
    subset lie in no shard.
    """
    folder.root.mkdir(parents=True, exist_ok=True)
    undecided = manifest.drop_columns([c for c in DECISION_COLUMNS if c in manifest.column_names])
    frame, known = decisions.to_frame(undecided), makers(work.config)
    found = decisions.outcomes(decisions.freeze(policy, frame, known), frame, known)
    decided = with_decisions(undecided, decisions.to_arrow(found))
    keep = pc.fill_null(decided["keep"], False)
    files = decisions.files_of(found, waterfall.summary(found)) | {
        folder.videos.name: read_table(work.run.videos),
        **more,
    }
    publish(folder.root, _only_in_shards(decided, keep), files)
    limit = found.policy.filters[-1]
    threshold = limit.min if side == "lowest" else limit.max
    seconds = pc.sum(decided.filter(keep)["duration_s"]).as_py() or 0.0
    at = float("nan") if threshold is None else float(threshold)
    return Subset(folder.root, 0.0, at, int(pc.sum(keep).as_py() or 0), seconds, side)


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
    subset.root.mkdir(parents=True, exist_ok=True)
    if not subset.shards.is_symlink():
        subset.shards.symlink_to(Path("..") / whole.root.name / whole.shards.name, target_is_directory=True)
