"""From parts to what people read: the joined manifest, the decisions of a policy, run.json, published as one. No video
is touched here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clipmill.curate.common.publish import publish, publish_decisions
from clipmill.curate.config import Config
from clipmill.curate.driver.policy_of_run import policy_of
from clipmill.curate.driver.run_facts import outcome_counts
from clipmill.curate.duplicates.split_changes import changed_sides, without_kept
from clipmill.curate.errors import UserError
from clipmill.curate.policy import decisions, waterfall
from clipmill.curate.policy.by_hand import Word, read_words, with_hand
from clipmill.curate.policy.hand_captions import with_hand_captions
from clipmill.curate.policy.policy import Policy
from clipmill.curate.tables.join import Joined, join, makers
from clipmill.curate.tables.manifest import DECISION_COLUMNS
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import open_manifest, read_manifest, read_run_json

HAND_CAPTIONS = "hand_captions"  # of run.json: how many captions a person corrected


@dataclass(frozen=True)
class Finished:
    """The tables of a run, decided, and not yet written."""

    joined: Joined
    outcomes: decisions.Outcomes

    def split_changes(self, run: RunDir, config: Config) -> list[str]:
        """What a person should know of the splits, against the tables that are still in the folder."""
        return empty_splits(self.joined.clips, self.outcomes, config) + _changed_sides(run, self.joined.clips)

    def publish(self, run: RunDir, facts: Mapping[str, Any]) -> None:
        """Write manifest.parquet, videos.parquet, the decisions and run.json (facts) as one."""
        videos = self.joined.videos.sort_by([("relpath", "ascending"), ("uri", "ascending")])
        _publish(run, self.joined.clips, self.outcomes, {run.videos.name: videos, run.run_json.name: facts})


def decide(joined: pa.Table, config: Config, policy: Policy) -> decisions.Outcomes:
    """Freeze the policy on this table, and decide every clip."""
    scores = decisions.to_frame(joined)
    frozen = decisions.freeze(policy, scores, makers(config))
    return decisions.outcomes(frozen, scores, makers(config))


def finish(run: RunDir, config: Config, units: Sequence[str], policy: Policy | None = None) -> Finished:
    """Join the units' tables and decide. policy: None: the configuration's."""
    joined = join(run, config, units)
    return Finished(joined, with_hand(decide(joined.clips, config, policy or policy_of(config)), run.root))


def _publish(run: RunDir, clips: pa.Table, found: decisions.Outcomes, files: Mapping[str, Any]) -> None:
    """clips: the joined view without decisions. files: those beside the manifest and the decisions."""
    decided = decisions.files_of(found, waterfall.summary(found))
    words = read_words(run.root)
    if n := _n_captions(words):
        files = {**files, run.run_json.name: {**files[run.run_json.name], HAND_CAPTIONS: n}}
    publish(run.root, with_hand_captions(clips, words), {**decided, **files}, decisions.path_of(found.policy.name))


def _n_captions(words: Mapping[str, Word]) -> int:
    return sum(bool(word.caption) for word in words.values())


def empty_splits(joined: pa.Table, found: decisions.Outcomes, config: Config) -> list[str]:
    """A line for each split of which the policy keeps nothing. joined: the clips that it decided, in their order."""
    clips = joined.select(["split"]).to_pandas()
    return without_kept(clips.assign(keep=found.clips == 0), config.export.split)


def _changed_sides(run: RunDir, joined: pa.Table) -> list[str]:
    columns = ["video_id", "relpath", "split"]
    try:
        before = read_manifest(run, columns)
    except UserError:  # a new run, or one whose tables were damaged: they are made again
        return []
    return changed_sides(before.to_pandas(), joined.select(columns).to_pandas())


def redecide(run: RunDir, config: Config, policy: Policy) -> decisions.Outcomes:
    """Decide again from the manifest alone: seconds, and no video. The manifest then carries this policy's
    decisions.
    """
    manifest = open_manifest(run)
    scores = manifest.read(["clip_id", "score_status", *policy.columns])
    found = with_hand(decide(scores, config, policy), run.root)
    facts = read_run_json(run)
    facts["policy"] = policy.name
    facts["counts"] |= outcome_counts(found)
    words = read_words(run.root)
    corrects = bool(facts.pop(HAND_CAPTIONS, 0)) or bool(_n_captions(words))  # or did, which has to be undone
    if n := _n_captions(words):
        facts[HAND_CAPTIONS] = n
    files = decisions.files_of(found, waterfall.summary(found)) | {run.run_json.name: facts}
    path = decisions.path_of(found.policy.name)
    if corrects or not publish_decisions(run.root, path, files):
        clips = manifest.read([n for n in manifest.column_names if n not in DECISION_COLUMNS])
        publish(run.root, with_hand_captions(clips, words), files, path)
    return found


def save_decisions(run: RunDir, config: Config, policy: Policy) -> decisions.Outcomes:
    """decisions/<policy>.parquet and .json, and nothing else: another policy goes on deciding the run."""
    scores = open_manifest(run).read(["clip_id", "score_status", *policy.columns])
    found = with_hand(decide(scores, config, policy), run.root)
    decisions.save(run.root, found, waterfall.summary(found))
    return found


def n_exported_not_kept(run: RunDir) -> int:
    """Clips that an earlier export packed and that are not kept now."""
    manifest = read_manifest(run, ["shard", "keep"])
    if "shard" not in manifest.column_names:
        return 0
    exported, kept = pc.is_valid(manifest["shard"]), pc.fill_null(manifest["keep"], False)
    return int(pc.sum(pc.and_not(exported, kept)).as_py() or 0)
