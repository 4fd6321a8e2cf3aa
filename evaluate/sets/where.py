"""SQL-like conditions on a table: `motion > 0.1 AND source = 'ego' AND text_area IS NOT NULL`."""

import re

import pandas as pd

from clipmill.curate.errors import UserError

_STRINGS = re.compile(r"('(?:[^']|'')*'|\"[^\"]*\")")
_WORDS = (
    (re.compile(r"<>"), "!="),
    (re.compile(r"(?<![<>=!])=(?!=)"), "=="),
    (re.compile(r"\b(AND|OR|NOT|IN)\b", re.I), lambda m: m[1].lower()),
    (re.compile(r"\b(\w+)\s+IS\s+not\s+NULL\b", re.I), r"\1 == \1"),  # NaN is the only value unlike itself
    (re.compile(r"\b(\w+)\s+IS\s+NULL\b", re.I), r"\1 != \1"),
    (re.compile(r"\b(\w+)\s+BETWEEN\s+(\S+)\s+and\s+(\S+)", re.I), r"(\1 >= \2 and \1 <= \3)"),
    (re.compile(r"\btrue\b", re.I), "True"),
    (re.compile(r"\bfalse\b", re.I), "False"),
)


def matching(table: pd.DataFrame, where: str | None) -> pd.DataFrame:
    """The rows that satisfy `where` (all of them for None). Raises UserError for a condition that cannot be
    understood.
    """
    if where is None:
        return table
    if "@" in _STRINGS.sub("", where):
        raise UserError(f"the condition {where!r} holds an @")
    try:
        return table.query(_to_pandas(where), engine="python")
    except Exception as error:  # pandas raises whatever its parser or the comparison raises
        known = f"; columns: {', '.join(map(str, table.columns[:60]))}" if "not defined" in str(error) else ""
        raise UserError(f"the condition {where!r} does not work: {' '.join(str(error).split())}{known}") from error


def _to_pandas(where: str) -> str:
    parts = _STRINGS.split(where)
    for i in range(0, len(parts), 2):
        for pattern, replacement in _WORDS:
            parts[i] = pattern.sub(replacement, parts[i])  # type: ignore[arg-type]
    parts[1::2] = [repr(p[1:-1].replace("''", "'")) for p in parts[1::2]]
    return "".join(parts)
