"""The dataset card of `--format hf`: Markdown below YAML, with the funnel, the frozen thresholds, the licences and what
made the clips.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from clipmill.curate.common.files import read_table
from clipmill.curate.policy import decisions
from clipmill.curate.report import fmt
from clipmill.curate.settings.fingerprints import library_version
from clipmill.curate.tables.run_dir import RunDir

# Upper limits of the size categories that hubs know.
_SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)
# Creative Commons licences as hubs spell them; any other text is "other" there, and stands in the card's own table.
_CREATIVE_COMMONS = re.compile(r"cc0-1\.0|cc-by(-nc)?(-sa|-nd)?-(2\.0|2\.5|3\.0|4\.0)")


def card_text(run: RunDir, table: pa.Table, docs: Mapping[str, str], facts: Mapping[str, Any]) -> str:
    """README.md. table: metadata of every clip (`clipmill.curate.formats.hugging_face.metadata`). docs: column -> one
    line. facts: run.json.

    No path of the machine, and no time at which it was written: the same export gives the same card.
    """
    parts = [_front_matter(table), _opening(table, facts), _funnel(facts, len(table)), _filters(run, facts)]
    parts += [_splits(table), _licences(table), _columns(docs), _making(run, facts)]
    return "\n\n".join(parts) + "\n"


def _front_matter(table: pa.Table) -> str:
    texts = bool(table["text"].drop_null())
    facts = {
        "pretty_name": "Video clips curated by clipmill",
        "license": _hub_licence(table["license"].to_pylist()),
        "task_categories": ["text-to-video"] if texts else ["image-to-video"],
        "size_categories": [next((name for limit, name in _SIZES if len(table) < limit), "n>10M")],
        "tags": ["video", "clipmill"],
    }
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in facts.items()), "---"])  # JSON is YAML


def _hub_licence(licences: Sequence[str | None]) -> str:
    """One name for the whole set: `unknown` where none is stated, the licence where every clip has that one, else
    `other`.
    """
    stated = {None if name is None or not name.strip() else "-".join(name.lower().split()) for name in licences}
    if stated == {None}:
        return "unknown"
    only = next(iter(stated)) if len(stated) == 1 else None
    return only if only is not None and _CREATIVE_COMMONS.fullmatch(only) else "other"


def _opening(table: pa.Table, facts: Mapping[str, Any]) -> str:
    captioned, videos = len(table["text"].drop_null()), len(set(table["video_id"].to_pylist()))
    return (
        f"# Video clips curated by clipmill\n\n{len(table):,} clips, {fmt.span(_seconds(table))} of video, of"
        f" {videos:,} source videos; {captioned:,} have a caption. Each was kept by the policy `{facts['policy']}`,"
        " whose thresholds are below.\n\n```python\nfrom datasets import load_dataset\n\nclips ="
        ' load_dataset("path/to/this/folder", split="train")\nclip = clips[0]   # video (needs torchcodec), text,'
        " and every score\n```"
    )


def _funnel(facts: Mapping[str, Any], exported: int) -> str:
    counts = facts["counts"]
    rows = [
        ("input files", counts["files"]),
        ("readable, each once", counts["ok"] + counts["partial"]),
        ("clips found", counts["clips"]),
        ("clips dropped by a filter", counts["dropped"]),
        ("clips without the scores that the policy needs", counts["error_clips"] + counts["not_run"]),
        ("clips kept", counts["kept"]),
        ("clips that could not be exported", counts["kept"] - exported),
        ("clips in this set", exported),
    ]
    return "## From files to clips\n\n" + _table(("step", "count"), [(name, fmt.count(n)) for name, n in rows])


def _filters(run: RunDir, facts: Mapping[str, Any]) -> str:
    """Thresholds with all their digits: enough to decide again."""
    policy, _, note = decisions.load(run.root, str(facts["policy"]))
    steps = {row["filter"]: row for row in note.get("waterfall") or []}
    rows = []
    for filter_ in policy.filters:
        step = steps.get(filter_.column, {})
        asked = ", ".join(f"{k.replace('_', ' ')} {100 * v:.4g} %" for k, v in (filter_.requested or {}).items())
        values = "" if filter_.one_of is None else ", ".join(_as_text(str(value)) for value in filter_.one_of)
        limits = [_exact(filter_.min), _exact(filter_.max), values, asked]
        rows.append(
            (f"`{filter_.column}`", *limits, *(fmt.count(step.get(k)) for k in ("entering", "dropped", "remaining")))
        )
    head = ("filter", "at least", "at most", "one of", "asked for", "clips in", "dropped here", "left")
    return f"## Filters\n\nPolicy `{policy.name}`, id `{note['policy_id']}`, in this order.\n\n" + _table(head, rows)


def _exact(value: float | None) -> str:
    """The shortest decimal that means the limit: limits have the precision of their columns, float32."""
    if value is None:
        return ""
    short = np.format_float_positional(np.float32(value), trim="-")
    return short if float(np.float32(short)) == value else repr(value)


def _splits(table: pa.Table) -> str:
    rows = []
    for split in ("train", "val", "test"):
        own = table.filter(pa.array([name == split for name in table["split"].to_pylist()], pa.bool_()))
        if len(own):
            rows.append(
                (split, fmt.count(len(own)), fmt.count(len(set(own["video_id"].to_pylist()))), fmt.span(_seconds(own)))
            )
    return "## Splits\n\nBy source video.\n\n" + _table(("split", "clips", "source videos", "length"), rows)


def _licences(table: pa.Table) -> str:
    """Counted over clips; what was not stated is said."""
    names = [_as_text(fmt.text(name)) or "none stated" for name in table["license"].to_pylist()]
    videos: dict[str, set[str]] = {}
    for name, video in zip(names, table["video_id"].to_pylist(), strict=True):
        videos.setdefault(name, set()).add(video)
    rows = [(name, fmt.count(n), fmt.count(len(videos[name]))) for name, n in Counter(names).most_common()]
    about = "As stated beside the source files; nobody checked them. The column `license` has that of each clip."
    return f"## Licences\n\n{about}\n\n" + _table(("licence", "clips", "source videos"), rows)


def _columns(docs: Mapping[str, str]) -> str:
    return "## Columns\n\n" + _table(("column", "what it is"), [(f"`{name}`", text) for name, text in docs.items()])


def _making(run: RunDir, facts: Mapping[str, Any]) -> str:
    export = facts["config"]["export"]
    codecs = ", ".join(sorted(set(read_table(run.root / "shards.parquet")["codec"].to_pylist())))
    size = f"short side {export['short_side_px']} px" if export.get("short_side_px") else "the source's size"
    rate = f"{export['fps']:g} frames per second" if export.get("fps") else "the source's rate"
    encoded = f"{size}, {rate}, {codecs}, CRF {export['crf']}, no sound"
    how = f"packets copied at keyframes, nothing encoded ({codecs})" if export.get("copy") else encoded
    versions = {"clipmill": facts["clipmill_version"]} | facts["versions"]
    lines = [
        f"Clips: {how}. Preset of the run: {_as_text(_preset(facts))}.",
        f"Exported with PyAV {library_version('av')}. Curated with:",
    ]
    return (
        "## How it was made\n\n"
        + "\n".join(lines)
        + "\n\n"
        + _table(("package", "version"), [(_as_text(str(n)), _as_text(str(v))) for n, v in versions.items()])
    )


def _preset(facts: Mapping[str, Any]) -> str:
    """A preset's file may lie anywhere; its name is enough."""
    return str(facts["config"].get("preset", "default")).replace("\\", "/").rsplit("/", 1)[-1]


def _seconds(table: pa.Table) -> float:
    columns = [table[name].to_pylist() for name in ("num_frames", "fps_num", "fps_den")]
    return float(sum(n * den / num for n, num, den in zip(*columns, strict=True)))


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _as_text(text: str) -> str:
    """What somebody else wrote: no HTML, no link and no other Markdown comes of it. An entity is never syntax."""
    entities = {ord(sign): f"&#{ord(sign)};" for sign in "&<>[]`*_~!#|:@\\\"'"}
    return text.translate(entities).replace("www.", "www&#46;")


def _cell(value: Any) -> str:
    return " ".join(str(value if value is not None else "–").split()).replace("|", "\\|")
