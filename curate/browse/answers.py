"""Answers as JSON: a page of clips, counts, one column's histogram, one clip in full."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from clipmill.curate.browse.clips import Clips
from clipmill.curate.browse.mapped import NOT_RUN, ROW, TEXT
from clipmill.curate.browse.rules import HAND, OUTCOME, quoted
from clipmill.curate.browse.view import Asked, View, checked
from clipmill.curate.errors import UserError
from clipmill.curate.policy.decisions import FAIL
from clipmill.curate.policy.policy import to_json

_SIZE, _MOST = 60, 240
_BINS = 36
_MOST_VALUES = 30
_CARD = ("clip_id", "video_id", "relpath", "start_s", "end_s", "duration_s", "width", "height", "fps", "split", "shard")
_TEXTS = ("split", "shard")


def run_facts(clips: Clips, who: str) -> dict[str, Any]:
    """Name, columns, filters, policies, and how much of the copy is there."""
    facts = clips.facts
    return {
        "name": clips.run.root.absolute().name,
        "clips": facts.n_clips,
        "ready": clips.is_ready,
        "copied": clips.rows_copied,
        "policy": facts.policy,
        "policies": facts.policies,
        "filters": [to_json(f) | {"text": f.text} for f in facts.filters],
        "columns": facts.columns(),
        "who": who,
    }


def page(clips: Clips, asked: Asked) -> dict[str, Any]:
    """One page of a view: {total, page, clips}. asked: `page` from 0 and `size` beside the view."""
    values = dict(asked)
    at, size = _whole(values, "page", 0), min(_whole(values, "size", _SIZE), _MOST)
    view = clips.view(asked)
    if not clips.is_ready and not view.parts and not values.get("sort") and not view.where and not at:
        return {"total": clips.facts.n_clips, "page": 0, "clips": [_card(clips, row) for row in clips.first(size)]}
    rows = clips.found(view)
    at = min(at, max(0, (len(rows) - 1) // size))
    chosen = rows[at * size : (at + 1) * size].tolist()
    outcomes = _judged(clips, view, chosen)
    cards = [_card(clips, row) | outcomes[row[ROW]] for row in clips.take(chosen)]
    return {"total": len(rows), "page": at, "clips": cards}


def _judged(clips: Clips, view: View, rows: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Row number -> outcome under the view's thresholds and the filters that fail."""
    filters = view.rules.filters
    codes = ", ".join(["", *(f"_c{i}" for i in range(len(filters)))])
    sql = f"SELECT {ROW}, {OUTCOME}{codes} FROM {view.rules.source('few')}"
    found = clips.ask_of(rows, sql).to_pylist() if rows else []
    return {
        row[ROW]: {
            "outcome": row[OUTCOME],
            "failed": [f.column for i, f in enumerate(filters) if row[f"_c{i}"] == FAIL],
        }
        for row in found
    }


def _card(clips: Clips, row: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: row.get(name) for name in _CARD}
    scores = {f.column: row.get(f.column) for f in clips.facts.filters}
    said = {"outcome": row.get("outcome"), "failed": row.get("failed_filters") or [], "caption": _caption(row)}
    return _clean(found | said | {"scores": scores, "hand": _word(clips, row["clip_id"])})


def _caption(row: Mapping[str, Any]) -> str:
    texts = [c["text"] for c in row.get("captions") or () if c["text"]]
    return texts[0][:300] if texts else ""


def _word(clips: Clips, clip_id: str) -> dict[str, Any] | None:
    word = clips.words.get(clip_id)
    if word is None:
        return None
    told = {"verdict": word.verdict, "note": word.note, "caption": word.caption, "who": word.who, "when": word.when}
    return _clean(told)


def words_of(clips: Clips, clip_ids: Sequence[str]) -> dict[str, Any]:
    """clip_id -> the word on it, or null."""
    return {clip: _word(clips, clip) for clip in clip_ids}


def check_known(clips: Clips, clip_ids: Sequence[str]) -> None:
    """Raises UserError for a clip that the run does not have."""
    if gone := sorted(set(clip_ids) - set(clips.rows_of(clip_ids))):
        raise UserError(f"there is no clip {gone[0][:80]!r}")


def clip(clips: Clips, clip_id: str, asked: Asked) -> dict[str, Any]:
    """Every column of a clip, every caption, its outcome under the view's thresholds, its duplicates."""
    row = clips.one(clip_id)
    found = {
        name: value
        for name, value in row.items()
        if name not in (TEXT, "score_status") and not name.startswith(NOT_RUN)
    }
    judged = _judged(clips, clips.view(asked), [row[ROW]])[row[ROW]]
    alike = []
    if row.get("dup_group_id"):
        sql = f"SELECT {ROW} FROM clips WHERE dup_group_id = ? ORDER BY dup_rank LIMIT 24"
        alike = [_card(clips, other) for other in clips.take(clips.ask(sql, [row["dup_group_id"]])[ROW].to_pylist())]
    status = dict(row.get("score_status") or [])
    return _clean(judged | {"clip": found, "status": status, "alike": alike, "hand": _word(clips, clip_id)})


def facets(clips: Clips, asked: Asked) -> dict[str, Any]:
    """Counts of the view's clips: by outcome and split (each without its own condition), by decision by hand; and the
    funnel of the filters, in their order, as `policy.waterfall`.
    """
    view = clips.view(asked)
    found = {"outcome": _counts(clips, view, OUTCOME, "outcome"), "hand": _counts(clips, view, HAND, "hand")}
    for name in _TEXTS:
        if name in clips.facts.schema.names:
            found[name] = _counts(clips, view, quoted(name), name)
    if view.rules.filters != list(clips.facts.filters):
        own = clips.view([(name, value) for name, value in asked if not name.startswith("t.")])
        found["before"] = _counts(clips, own, OUTCOME, "outcome")
    return found | {"funnel": _funnel(clips, view)}


def _counts(clips: Clips, view: View, what: str, group: str) -> dict[str, int]:
    without = ("outcome", "by") if group == "outcome" else (group,)
    sql, values = view.filtered(f"{what}::VARCHAR AS name, count(*) AS n", without)
    rows = clips.ask(f"{sql} GROUP BY 1 ORDER BY 2 DESC LIMIT {_MOST_VALUES}", values).to_pylist()
    return {row["name"] if row["name"] is not None else "": row["n"] for row in rows}


def _funnel(clips: Clips, view: View) -> list[dict[str, Any]]:
    """Per filter: limit, how many clips fail it, fail it alone, and leave at it when filters are asked in order."""
    filters, sums = view.rules.filters, []
    for i in range(len(filters)):
        before = " AND ".join([f"_c{j} <> {FAIL}" for j in range(i)] + [f"_c{i} = {FAIL}"])
        alone = f"_c{i} = {FAIL} AND {view.rules.fails()} = 1"
        by_rule = f"{HAND} IS DISTINCT FROM 'keep'"
        sums += [f"count(*) FILTER (_c{i} = {FAIL}) AS f{i}", f"count(*) FILTER ({alone}) AS a{i}"]
        sums += [f"count(*) FILTER ({before} AND {by_rule}) AS l{i}"]
    if not sums:
        return []
    sql, values = view.filtered(", ".join(sums), ("outcome", "by"))
    row = clips.ask(sql, values).to_pylist()[0]
    return [
        {"column": f.column, "text": f.text, "min": f.min, "max": f.max, "fails": row[f"f{i}"], "alone": row[f"a{i}"]}
        | {"leaves": row[f"l{i}"], "fixed": f.one_of is not None}
        for i, f in enumerate(filters)
    ]


def histogram(clips: Clips, asked: Asked) -> dict[str, Any]:
    """`column` of the view without its own condition: bins of kept and other clips, or the most frequent values."""
    column, view = dict(asked).get("column", ""), clips.view(asked)
    kind = next((c["kind"] for c in clips.facts.columns() if c["name"] == column), None)
    if kind is None:
        checked(column, clips.facts.schema)
        raise UserError(f"{column}: it has no histogram")
    name = quoted(column)
    if kind != "number":
        sql, values = view.filtered(
            f"{name}::VARCHAR AS value, count(*) AS n, count(*) FILTER ({OUTCOME} = 'kept') AS kept", (f"v.{column}",)
        )
        rows = clips.ask(f"{sql} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_MOST_VALUES}", values).to_pylist()
        return _clean({"column": column, "kind": kind, "values": rows})
    limits = f"min({name}) AS lo, max({name}) AS hi, approx_quantile({name}, [0.005, 0.995]) AS q"
    row = clips.ask(f"SELECT {limits} FROM clips WHERE isfinite({name}::DOUBLE)").to_pylist()[0]
    if row["lo"] is None:
        return {"column": column, "kind": kind, "bins": [], "missing": clips.facts.n_clips}
    low, high = _ends(row)
    spot = f"least({_BINS - 1}, greatest(0, floor(({name} - {low!r}) / {high - low!r} * {_BINS})))::INT"
    sql, values = view.filtered(
        f"CASE WHEN isfinite({name}::DOUBLE) THEN {spot} END AS bin, count(*) AS n,"
        f" count(*) FILTER ({OUTCOME} = 'kept') AS kept",
        (f"r.{column}", "outcome", "by"),
    )
    counted = {r["bin"]: (r["kept"], r["n"] - r["kept"]) for r in clips.ask(f"{sql} GROUP BY 1", values).to_pylist()}
    bins = [counted.get(i, (0, 0)) for i in range(_BINS)]
    told = {"low": low, "high": high, "min": row["lo"], "max": row["hi"], "missing": sum(counted.get(None, (0, 0)))}
    return _clean({"column": column, "kind": kind, "bins": bins} | told)


def _ends(row: Mapping[str, Any]) -> tuple[float, float]:
    """Where a histogram begins and ends: without the outermost half percents, which the first and last bin take."""
    low, high = (float(v) for v in row["q"])
    if high <= low:
        low, high = float(row["lo"]), float(row["hi"])
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _whole(values: Mapping[str, str], name: str, otherwise: int) -> int:
    text = values.get(name, "")
    return min(int(text), 2**31) if text.isascii() and text.isdigit() else otherwise


def _clean(value: Any) -> Any:
    """JSON knows no NaN, no times and no tuples of a map."""
    if isinstance(value, Mapping):
        return {str(k): _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value.isoformat() if isinstance(value, datetime) else value
