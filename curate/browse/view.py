"""What the page's address asks for, as SQL: which clips, in which order, under which thresholds.

    outcome=kept  by=motion  split=train  shard=NAME  video=ID  dup=ID  hand=keep|drop|unsure|any|none
    q=WORDS  where=CONDITION  r.motion=0.1..0.5  v.camera_direction=left
    sample=100 (so many at random)  t.motion.min=0.02 (a moved threshold)  sort=motion|-motion|near:motion|fails|random

Names of columns are looked up in the table's schema, values are bound: nothing of an address becomes SQL text, but for
`where`, which is checked as every condition is (`common.sql`).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from clipmill.curate.browse.mapped import ROW, TEXT, is_plain
from clipmill.curate.browse.rules import HAND, OUTCOME, Rules, quoted
from clipmill.curate.errors import UserError, closest
from clipmill.curate.policy.decisions import CLIP_OUTCOMES, FAIL
from clipmill.curate.policy.policy import Filter

Asked = Sequence[tuple[str, str]]
_EXACT = {"split": "split", "shard": "shard", "video": "video_id", "dup": "dup_group_id"}
_HAND = {"any": f"{HAND} IS NOT NULL", "none": f"{HAND} IS NULL"}
_CHANCE = "hash(clip_id || '0')"
_ORDERS = {"random": f"{_CHANCE}, {ROW}", "fails": f"_fails DESC, {ROW}"}


@dataclass(frozen=True)
class Part:
    """One condition. group: what it is about, so that a histogram can leave out its own."""

    group: str
    sql: str
    values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class View:
    """parts: all hold. order: an ORDER BY. where: a condition in a person's own words, "" for none."""

    rules: Rules
    parts: tuple[Part, ...]
    order: str
    where: str = ""

    def rows(self) -> tuple[str, list[Any]]:
        """The query for the row numbers of the clips, in order, and its values."""
        sql, values = self.filtered(ROW)
        return f"{sql} ORDER BY {self.order}", values

    def filtered(self, what: str, without: Iterable[str] = ()) -> tuple[str, list[Any]]:
        """SELECT `what` of the clips; without: groups of conditions to leave out."""
        left = [part for part in self.parts if part.group not in set(without)]
        test = " AND ".join(f"({part.sql})" for part in left) or "true"
        return f"SELECT {what} FROM {self.rules.source()} WHERE {test}", [v for part in left for v in part.values]


def view_of(asked: Asked, rules: Rules) -> View:
    """asked: names and values of an address; those that are no part of a view are passed over. Raises UserError, one
    line, for a column that is not there or a value that is none.
    """
    rules = replace(rules, filters=moved(rules.filters, asked))
    texts: dict[str, list[str]] = {}
    for name, value in asked:
        texts.setdefault(name, []).append(value)
    parts = [part for name, values in texts.items() if (part := _part(name, values, rules)) is not None]
    order = _order(texts.get("sort", [""])[-1], rules)
    return View(rules, tuple(parts), order, texts.get("where", [""])[-1].strip())


def moved(filters: Sequence[Filter], asked: Asked) -> list[Filter]:
    """The filters with the thresholds of the address (`t.motion.min=0.02`; an empty value takes the limit away)."""
    found = {f.column: f for f in filters}
    for name, value in asked:
        if not name.startswith("t."):
            continue
        column, _, side = name[2:].rpartition(".")
        if side not in ("min", "max") or not column:
            raise UserError(f"{name}: a threshold is t.COLUMN.min or t.COLUMN.max")
        old = found.get(column, Filter(column, n_scored=0))
        limit = number(name, value) if value else None
        changed = replace(old, min=limit) if side == "min" else replace(old, max=limit)
        found[column] = replace(changed, drop_lowest=None, drop_highest=None)
    return [f for f in found.values() if f.one_of is not None or f.min is not None or f.max is not None]


def _part(name: str, values: list[str], rules: Rules) -> Part | None:
    if name in _NAMED:
        return _NAMED[name](values, rules)
    if name in _EXACT or name.startswith("v."):
        column = checked(_EXACT.get(name) or name[2:], rules.schema)
        marks = ", ".join("?" for _ in values)
        return Part(name, f"{quoted(column)}::VARCHAR IN ({marks})", tuple(values))
    if name.startswith("r."):
        return _range(name, values[-1], rules)
    return None


def _outcome(values: list[str], rules: Rules) -> Part:
    if wrong := [v for v in values if v not in CLIP_OUTCOMES]:
        raise UserError(f"outcome={wrong[0]}: there are {', '.join(CLIP_OUTCOMES)}")
    return Part("outcome", f"{OUTCOME} IN ({', '.join('?' for _ in values)})", tuple(values))


def _by(values: list[str], rules: Rules) -> Part:
    columns = [f.column for f in rules.filters]
    tests = []
    for value in values:
        if value == "hand":
            tests.append(f"{HAND} = 'drop'")
        elif value not in columns:
            raise UserError(f"by={value}: the policy has no such filter{closest(value, columns)}")
        else:
            tests.append(f"_c{columns.index(value)} = {FAIL}")
    return Part("by", " OR ".join(tests))


def _hand(values: list[str], rules: Rules) -> Part:
    tests = [_HAND.get(value, f"{HAND} = ?") for value in values]
    return Part("hand", " OR ".join(tests), tuple(v for v in values if v not in _HAND))


def _words(values: list[str], rules: Rules) -> Part:
    words = values[-1].lower().split()
    return Part("q", " AND ".join(f"contains({TEXT}, ?)" for _ in words) or "true", tuple(words))


def _sample(values: list[str], rules: Rules) -> Part:
    n = int(number("sample", values[-1]))
    if n < 1:
        raise UserError(f"sample={n}: it is one clip or more")
    drawn = f"SELECT {_CHANCE} AS chance FROM clips ORDER BY chance LIMIT {n}"
    return Part("sample", f"{_CHANCE} <= (SELECT max(chance) FROM ({drawn}))")


_NAMED = {"outcome": _outcome, "by": _by, "hand": _hand, "q": _words, "sample": _sample}


def _range(name: str, value: str, rules: Rules) -> Part:
    column, (low, dots, high) = quoted(checked(name[2:], rules.schema)), value.partition("..")
    if not dots:
        raise UserError(f"{name}={value}: a range is LOW..HIGH, either of which may be left out")
    limits = [(f"{column} >= ?", low), (f"{column} <= ?", high)]
    given = [(sql, number(name, text)) for sql, text in limits if text]
    return Part(name, " AND ".join(sql for sql, _ in given) or "true", tuple(v for _, v in given))


def _order(sort: str, rules: Rules) -> str:
    if not sort:
        return ROW
    if sort in _ORDERS:
        return _ORDERS[sort].replace("_fails", rules.fails())
    if sort.startswith("near:"):
        found = [f for f in rules.filters if f.column == sort[5:]]
        if not found:
            raise UserError(f"sort={sort}: the policy has no such filter")
        return f"abs({rules.margin(found[0])}) ASC NULLS LAST, {ROW}"
    column = quoted(checked(sort.removeprefix("-"), rules.schema))
    return f"{column} {'DESC' if sort.startswith('-') else 'ASC'} NULLS LAST, {ROW}"


def checked(column: str, schema: pa.Schema) -> str:
    """The column's name. Raises UserError where there is none that can be compared."""
    plain = [field.name for field in schema if is_plain(field.type)]
    if column not in plain:
        raise UserError(f"there is no column {column[:80]!r}{closest(column, plain)}")
    return column


def number(name: str, text: str) -> float:
    """Raises UserError where the text is no finite number."""
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"{name}: {text[:40]!r} is no number") from None
    if not math.isfinite(value):
        raise UserError(f"{name}: {text[:40]!r} is no finite number")
    return value
