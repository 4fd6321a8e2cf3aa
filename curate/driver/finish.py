"""From parts to what people read: the joined manifest, the decisions of a policy, run.json. No video is touched
here.
"""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from clipmill.curate.common.files import write_atomic, write_json
from clipmill.curate.config import Config
from clipmill.curate.driver.policy_of_run import policy_of
from clipmill.curate.driver.run_facts import outcome_counts
from clipmill.curate.policy import decisions, waterfall
from clipmill.curate.policy.policy import Policy
from clipmill.curate.tables.join import Joined, join, makers, with_decisions
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import DECISION_COLUMNS, read_manifest, read_run_json


def decide(run: RunDir, joined: pa.Table, config: Config, policy: Policy) -> decisions.Outcomes:
    """Freeze the policy on this table, decide every clip, save decisions/<policy>.parquet and .json."""
    scores = decisions.to_frame(joined)
    frozen = decisions.freeze(policy, scores, makers(config))
    found = decisions.outcomes(frozen, scores, makers(config))
    decisions.save(run.root, found, waterfall.summary(found))
    return found


def finish(
    run: RunDir, config: Config, units: Sequence[str], policy: Policy | None = None
) -> tuple[Joined, decisions.Outcomes]:
    """Join the units' tables, decide, and write manifest.parquet and videos.parquet. policy: None: the
    configuration's.
    """
    joined = join(run, config, units)
    found = decide(run, joined.clips, config, policy or policy_of(config))
    write_atomic(run.manifest, with_decisions(joined.clips, decisions.to_arrow(found)))
    write_atomic(run.videos, joined.videos.sort_by([("relpath", "ascending"), ("uri", "ascending")]))
    return joined, found


def redecide(run: RunDir, config: Config, policy: Policy) -> decisions.Outcomes:
    """Decide again from the manifest alone: seconds, and no video. The manifest then carries this policy's
    decisions.
    """
    manifest = read_manifest(run)
    undecided = manifest.drop_columns([c for c in DECISION_COLUMNS if c in manifest.column_names])
    found = decide(run, undecided, config, policy)
    write_atomic(run.manifest, with_decisions(undecided, decisions.to_arrow(found)))
    facts = read_run_json(run)
    facts["policy"] = policy.name
    facts["counts"] |= outcome_counts(found)
    write_json(run.run_json, facts)
    return found


def n_exported_not_kept(run: RunDir) -> int:
    """Clips that an earlier export packed and that are not kept now."""
    manifest = read_manifest(run)
    if "shard" not in manifest.column_names:
        return 0
    exported, kept = pc.is_valid(manifest["shard"]), pc.fill_null(manifest["keep"], False)
    return int(pc.sum(pc.and_not(exported, kept)).as_py() or 0)
