"""`curate inspect`: one clip, whole. Every number with its unit and maker, every policy's reasons, how to see and
reproduce it.

Reads RUN/manifest.parquet, RUN/decisions/*, RUN/annotations/<maker>/<video_id>-<fingerprint>.parquet (for the
fingerprint and the reason of a failed score) and these keys of RUN/run.json: command, config, columns (column ->
maker), column_docs.
"""

import json
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from clipmill.curate.common.files import is_bare
from clipmill.curate.config import Config, load, load_tree
from clipmill.curate.contract import schema
from clipmill.curate.errors import UserError
from clipmill.curate.inputs.files import path_of, printable
from clipmill.curate.policy import decisions
from clipmill.curate.policy.policy import Filter, Policy
from clipmill.curate.tables.parts import Parts
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_manifest, read_run_json

WIDTH = 118
SHOWN_ELSEWHERE = {"score_status", "captions", "keep", "outcome", "failed_filters", "margins", *schema.CLIPS.names}


@dataclass(frozen=True)
class Clip:
    """A clip's row of the manifest (plain Python values) and what is needed to explain it."""

    run: Path
    row: Mapping[str, Any]
    info: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The whole clip_id, 32 hex digits."""
        return str(self.row["clip_id"])

    @property
    def makers(self) -> dict[str, str]:
        """column -> "motion.v1"."""
        return {str(k): str(v) for k, v in (self.info.get("columns") or {}).items()}

    @property
    def source(self) -> Path:
        """The source video, where it lay when the run was made."""
        return path_of(self.row["uri"])


def describe(run: Path, prefix: str) -> str:
    """Everything about the clip whose id starts with `prefix`, as text of at most WIDTH columns where words can be
    broken.

    Raises UserError where the run is unfinished or damaged, the prefix is empty or ambiguous, or no id starts with it
    (naming near ones).
    """
    clip = find(run, prefix)
    parts = [
        _head(clip),
        *(_decision(clip, name) for name in _policies(clip)),
        *_scores(clip),
        _see(clip),
        _reproduce(clip),
    ]
    return printable("\n\n".join("\n".join(lines) for lines in parts if lines))


def find(run: Path, prefix: str) -> Clip:
    """The one clip whose id starts with `prefix`. Raises UserError as `describe`."""
    info = read_run_json(RunDir(run))
    ids = read_manifest(RunDir(run), ["clip_id"])["clip_id"].to_pylist()
    if not prefix.strip():
        raise UserError(f"give a clip id of this run, or the start of one{f', such as {ids[0][:12]}' if ids else ''}")
    found = sorted(i for i in ids if i.startswith(prefix.lower()))
    if len(found) > 1 and prefix.lower() not in found:
        raise UserError(f"{len(found)} clips start with {prefix!r}: {_some(found)}; give more digits")
    if not found:
        raise UserError(f"no clip starts with {prefix!r}{_near(run, prefix, ids)}")
    row = read_manifest(RunDir(run), where=_is("clip_id", found[0])).to_pylist(maps_as_pydicts="lossy")[0]
    return Clip(run, row, info)


def _is(column: str, value: str) -> str:
    """The SQL condition."""
    return f"{column} = '{value.replace(chr(39), chr(39) * 2)}'"


def _near(run: Path, prefix: str, ids: Sequence[str]) -> str:
    """Clips of the video of that name, else the ids that share most leading digits."""
    table = read_manifest(RunDir(run), ["clip_id", "relpath"]).to_pylist()
    of_video = [r["clip_id"] for r in table if prefix in (r["relpath"], Path(r["relpath"] or "").name)]
    if of_video:
        return f"; clips of that video: {_some(of_video)}"
    if not ids:
        return ": the run has no clips"

    def shared(clip_id: str) -> int:
        return next((i for i, (a, b) in enumerate(zip(prefix.lower(), clip_id, strict=False)) if a != b), len(prefix))

    return f"; closest: {_some(sorted(ids, key=lambda i: (-shared(i), i))[:3])}"


def _some(ids: Sequence[str], limit: int = 5) -> str:
    return ", ".join(i[:12] for i in ids[:limit]) + (" ..." if len(ids) > limit else "")


def _head(clip: Clip) -> list[str]:
    r = clip.row
    base = f"1/{r['time_base_den']}" if r["time_base_num"] == 1 else f"{r['time_base_num']}/{r['time_base_den']}"
    size = f"{r['width']} x {r['height']} px at ({r['crop_x']}, {r['crop_y']})"
    facts = {
        "source": f"{r['relpath']}  ({clip.source}{'' if clip.source.exists() else ', not there now'})",
        "clip": (
            f"number {r['clip_index']} of the video, {r['n_frames']} frames, {r['duration_s']:.3f} s, {r['fps']:.3f}"
            f" fps, {size}"
        ),
        "span": (
            f"pts {r['start_pts']} to {r['end_pts']} of {base} s, {r['start_s']:.3f} to {r['end_s']:.3f} s; the end is"
            " exclusive"
        ),
        "decision": _verdict(r["outcome"], r["failed_filters"]) if r.get("outcome") else "none yet",
        "duplicates": _duplicates(clip),
        "split": r.get("split"),
        "shard": _shard(clip),
        "caption": r.get("caption"),
    }
    return [f"clip {clip.id}", *_rows([(name, _value(text), "") for name, text in facts.items()])]


def _verdict(outcome: str, failed: Sequence[str] | None) -> str:
    why = {
        "dropped": f" by {', '.join(failed or [])}",
        "error": ": a score failed",
        "not_run": ": a score was never computed",
    }
    return outcome + why.get(outcome, "")


def _duplicates(clip: Clip) -> str | None:
    group = clip.row.get("dup_group_id")
    if group is None:
        return None
    columns = ["clip_id", "dup_rank", "relpath", "start_s"]
    rows = read_manifest(RunDir(clip.run), columns, _is("dup_group_id", group)).to_pylist()
    others = sorted((r for r in rows if r["clip_id"] != clip.id), key=lambda r: (r["dup_rank"], r["clip_id"]))
    names = ", ".join(f"{r['clip_id'][:12]} ({r['relpath']} at {r['start_s']:.2f} s)" for r in others[:3])
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return (
        f"rank {clip.row.get('dup_rank')} of {len(rows)} in group"
        f" {group[:12]}{': the others are ' if others else ''}{names}{more}"
    )


def _shard(clip: Clip) -> str | None:
    r = clip.row
    if r.get("shard") is None:
        return None
    return f"shards/{r['shard']}, {r['size']} bytes at offset {r['offset']}, sha256 {r.get('sha256')}"


def _policies(clip: Clip) -> list[str]:
    """The run's own policy first."""
    return sorted(decisions.saved(clip.run), key=lambda name: (name != clip.info.get("policy"), name))


def _decision(clip: Clip, name: str) -> list[str]:
    """Every filter of a policy on this clip: value, limit, margin, outcome."""
    policy, decided, note = decisions.load(clip.run, name)
    mine = decided[decided["clip_id"] == clip.id]
    if mine.empty:
        return [
            f"policy {name}: this clip was not there when it decided; run `curate filter {shlex.quote(str(clip.run))}`"
        ]
    title = (
        f"policy {name} ({note['policy_id'][:12]}):"
        f" {_verdict(mine['outcome'].iloc[0], list(mine['failed_filters'].iloc[0]))}"
    )
    found = _judge(clip, policy)
    stale = decisions.CLIP_OUTCOMES[found.clips[0]] != mine["outcome"].iloc[0]
    lines = [title + ("  (scores have changed since: run `curate filter` again)" if stale else "")]
    table = [("filter", "value", "keeps", "margin", "outcome")]
    for i, filter_ in enumerate(policy.filters):
        margin, word = found.margins[0, i], decisions.FILTER_OUTCOMES[found.codes[0, i]]
        shown = "" if margin != margin else f"{margin:+.4g}"
        table.append(
            (
                filter_.column,
                _value(clip.row.get(filter_.column)),
                _limit(filter_),
                shown,
                word + _mended(filter_, word),
            )
        )
    return lines + _columns(table)


def _judge(clip: Clip, policy: Policy) -> decisions.Outcomes:
    table = read_manifest(RunDir(clip.run), where=_is("clip_id", clip.id))
    return decisions.outcomes(policy, decisions.to_frame(table), clip.makers)


def _limit(filter_: Filter) -> str:
    requested = [
        f"{side.replace('_', ' ')} {100 * share:g}% of {filter_.n_scored:,}"
        for side, share in (filter_.requested or {}).items()
    ]
    return filter_.text + "".join(f" ({text})" for text in requested if filter_.resolved)


def _mended(filter_: Filter, word: str) -> str:
    return f", on_error = {filter_.on_error}" if word == "error" and filter_.on_error != "error" else ""


def _scores(clip: Clip) -> Iterator[list[str]]:
    """Every column of the manifest, by maker, with its documentation."""
    docs, makers = clip.info.get("column_docs") or {}, clip.makers
    groups: dict[str, list[str]] = {}
    for column in clip.row:
        if column in makers:
            groups.setdefault(makers[column], []).append(column)
    yield [
        "clip, from decoding",
        *_rows([(c, _value(clip.row[c]), docs.get(c, "")) for c in schema.CLIPS.names if c not in makers]),
    ]
    for maker, columns in sorted(groups.items()):
        yield [_made_by(clip, maker), *_rows([(c, _value(clip.row[c]), docs.get(c, "")) for c in columns])]
    rest = [c for c in clip.row if c not in makers and c not in SHOWN_ELSEWHERE]
    yield [
        "about the video, its text, duplicates and shard",
        *_rows([(c, _value(clip.row[c]), docs.get(c, "")) for c in rest]),
    ]


def _made_by(clip: Clip, maker: str) -> str:
    """`motion.v1: ok, fingerprint 0123abcd, fps = 2.0, ...`, with the reason where it failed."""
    name = maker.partition(".")[0]
    statuses = clip.row.get("score_status") or {}
    status = str(statuses.get(name) or statuses.get(maker) or "not_run")
    run, unit, place = RunDir(clip.run), clip.row["video_id"], f"annotations/{maker}"
    there = run.listing(place) if is_bare(maker) else Parts()
    prints = sorted(p for p in there.fingerprints if unit in there.of(p).units)
    marks = [f"fingerprint {prints[-1]}"] if prints else []
    if status == "error" and prints:
        table = run.rows(place, unit, prints[-1], columns=["clip_id", "error"])
        rows = [] if table is None else table.filter(pc.equal(table["clip_id"], clip.id))["error"].to_pylist()
        status += f" ({rows[0]})" if rows and rows[0] else ""
    return f"{maker}: " + ", ".join([status, *marks, *(f"{k} = {v}" for k, v in _parameters(clip, name).items())])


def _parameters(clip: Clip, name: str) -> Mapping[str, Any]:
    """All parameters of an annotator; where this version of the code no longer has it, those that were set."""
    try:
        return load_tree(clip.info["config"]).annotators[name].params()
    except (UserError, KeyError):
        return ((clip.info.get("config") or {}).get("parameters") or {}).get(name, {})


def _see(clip: Clip) -> list[str]:
    """Commands that bring the clip before one's eyes, with the reader that the clip was found with."""
    start, end, name = int(clip.row["start_pts"]), int(clip.row["end_pts"]), clip.id[:12]
    code = (
        "from pathlib import Path; from clipmill.curate.video.span_reader import SpanReader;"
        f' [f.native.to_image().save(f"{name}_{{f.pts}}.png") for f in'
        f" SpanReader(Path({_literal(clip.source)}), None).frames({start}, {end})]"
    )
    lines = ["see its frames, as coded, before rotation (PNG files in this folder)", f"  python -c {shlex.quote(code)}"]
    if clip.row.get("shard") is not None:
        tar = clip.run / "shards" / clip.row["shard"]
        code = (
            f'f = open({_literal(tar)}, "rb"); f.seek({int(clip.row["offset"])}); open("{name}.mp4",'
            f' "wb").write(f.read({int(clip.row["size"])}))'
        )
        lines += ["see the exported clip", f"  python -c {shlex.quote(code)}"]
    return lines


def _literal(path: Path) -> str:
    """A Python string in double quotes, which a shell's single quotes leave alone; odd names as `repr` escapes them."""
    return json.dumps(str(path), ensure_ascii=False) if str(path).isprintable() else repr(str(path))


def _reproduce(clip: Clip) -> list[str]:
    """The command that made the run, and the commands that make this clip's numbers and decision again from its video
    alone.
    """
    lines = ["reproduce", f"  the run        {clip.info.get('command', 'not recorded')}"]
    if "config" not in clip.info:
        return lines
    config = load_tree(clip.info["config"])
    run = [
        "curate",
        "run",
        str(clip.source),
        "--out",
        "again",
        "--no-export",
        *_preset(config),
        *_sets(_settings(config)),
    ]
    lines.append(f"  its numbers    {shlex.join(run)}")
    targets = [f for f in _policy(clip).filters if f.requested and f.resolved]
    if targets:  # a share of one video's clips is another threshold than a share of all clips
        fixed = [
            f"{f.column}.{side}={getattr(f, side)!r}"
            for f in targets
            for side in (["min"] if f.drop_lowest is not None else ["max"])
        ]
        lines.append(f"  its decision   {shlex.join(['curate', 'filter', 'again', *_sets(fixed)])}")
    return [*lines, f"                 {shlex.join(['curate', 'inspect', 'again', clip.id[:12]])}"]


def _policy(clip: Clip) -> Policy:
    names = _policies(clip)
    return decisions.load(clip.run, names[0])[0] if names else Policy("none")


def _preset(config: Config) -> list[str]:
    return [] if config.preset == "default" else ["--preset", config.preset]


def _sets(settings: Sequence[str]) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def _settings(config: Config) -> list[str]:
    """The `key=value` settings that lead from the preset to this configuration."""
    try:
        base = load(config.preset).as_dict()
    except UserError:
        base = load().as_dict()
    mine = config.as_dict()
    flat = {k: v for k, v in mine.items() if k not in ("preset", "parameters")} | mine["parameters"]
    before = {k: v for k, v in base.items() if k not in ("preset", "parameters")} | base["parameters"]
    gone = [f"policy.{column}=off" for column in before["policy"] if column not in flat["policy"]]
    return [*_difference(flat, before), *gone]


def _difference(mine: Mapping[str, Any], base: Mapping[str, Any], path: str = "") -> list[str]:
    settings = []
    for key, value in mine.items():
        if isinstance(value, Mapping):
            below = base.get(key)
            settings += _difference(value, below if isinstance(below, Mapping) else {}, f"{path}{key}.")
        elif key not in base or _plain(base[key]) != _plain(value):
            settings.append(f"{path}{key}={'none' if value is None else json.dumps(value, ensure_ascii=False)}")
    return settings


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _value(value: Any) -> str:
    """A value as people read it: six digits, "null" where there is none."""
    if value is None or value != value:
        return "null"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, list):
        shown = ", ".join(_value(v) for v in value[:6])
        return f"[{shown}{f', ... {len(value)} in all' if len(value) > 6 else ''}]"
    return str(value)


def _rows(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """name, value, documentation in three columns; long documentation goes on below itself."""
    rows = [row for row in rows if row[2] or row[1] != "null"]
    names = max((len(name) for name, _, _ in rows), default=0)
    values = min(max((len(value) for _, value, doc in rows if doc), default=0), 34)
    lines = []
    for name, value, doc in rows:
        start = f"  {name:{names}}  {value:{values}}  " if doc else f"  {name:{names}}  {value}"
        wrapped = textwrap.wrap(doc, max(40, WIDTH - len(start))) or [""]
        lines += [f"{start}{wrapped[0]}".rstrip(), *(" " * len(start) + more for more in wrapped[1:])]
    return lines


def _columns(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return [
        "  " + "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    ]
