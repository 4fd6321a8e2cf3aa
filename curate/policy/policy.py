"""A policy: limits on columns, read from TOML, changed by `--set`, named by a hash. Deciding is in
`clipmill.curate.policy.decisions`.

    [policy.motion]
    min = 0.01                # kept where motion >= 0.01 (column's unit, see the schema)
    [policy.text_area]
    max = 0.07
    [policy.aesthetics]
    drop_lowest = "25%"       # a keep-rate target: becomes a fixed `min` once scores are there
    [policy.interlaced]
    equals = false
    [policy.camera]
    one_of = ["static", "pan"]
    on_error = "keep"         # what a failed score means for the clip: error (default), drop or keep

A filter has its column's name. Limits are inclusive: a value on the limit passes.
"""

import difflib
import hashlib
import json
import math
import re
import shlex
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clipmill.curate.errors import UserError, closest

Value = str | bool | int | float
KEYS = ("min", "max", "drop_lowest", "drop_highest", "equals", "one_of", "on_error")
BY_HAND = "hand"  # the one name in decisions/ that is no policy's
ON_ERROR = ("error", "drop", "keep")
# Two ways to limit the same side: giving one by `--set` takes the other away, giving both in a file is a contradiction.
RIVALS = {
    "min": "drop_lowest",
    "drop_lowest": "min",
    "max": "drop_highest",
    "drop_highest": "max",
    "equals": "one_of",
    "one_of": "equals",
}


@dataclass(frozen=True)
class Filter:
    """Limits on one column.

    min, max: inclusive limits in the column's unit. drop_lowest, drop_highest: shares of the scored clips, between 0
    and 1 exclusive, that freezing turns into `min` or `max`; at most one of the two. one_of: accepted values of a text
    or boolean column, instead of limits. on_error: what a clip becomes whose score failed.
    n_scored, ci_low, ci_high: written by freezing: how many clips had a score, and the 95 % interval of a threshold
    that came from a target, in the column's unit (None where the sample does not bound it).
    """

    column: str
    min: float | None = None
    max: float | None = None
    drop_lowest: float | None = None
    drop_highest: float | None = None
    one_of: tuple[Value, ...] | None = None
    on_error: str = "error"
    n_scored: int | None = None
    ci_low: float | None = None
    ci_high: float | None = None

    @property
    def requested(self) -> dict[str, float] | None:
        """The keep-rate target, {"drop_lowest": share} or {"drop_highest": share}; None for fixed limits."""
        targets = {"drop_lowest": self.drop_lowest, "drop_highest": self.drop_highest}
        return {k: v for k, v in targets.items() if v is not None} or None

    @property
    def frozen(self) -> bool:
        """True where the limits no longer depend on a table."""
        return self.requested is None or self.n_scored is not None

    @property
    def resolved(self) -> bool:
        """True where a value can be decided: frozen, and not from an empty set of scores."""
        low_open = self.drop_lowest is not None and self.min is None
        high_open = self.drop_highest is not None and self.max is None
        return not (low_open or high_open)

    @property
    def text(self) -> str:
        """The limit for people, such as `motion >= 0.01`."""
        if self.one_of is not None:
            values = ", ".join(str(v).lower() if isinstance(v, bool) else str(v) for v in self.one_of)
            return f"{self.column} {'is' if len(self.one_of) == 1 else 'in'} {values}"
        if not self.resolved:
            return ", ".join(
                f"{self.column} {side.replace('_', ' ')} {100 * share:.4g}%"
                for side, share in (self.requested or {}).items()
            )
        if self.min is not None and self.max is not None:
            return f"{self.min:.4g} <= {self.column} <= {self.max:.4g}"
        return f"{self.column} >= {self.min:.4g}" if self.min is not None else f"{self.column} <= {self.max:.4g}"


@dataclass(frozen=True)
class Policy:
    """Filters in the order in which people read them. The order changes no decision, only the order of reasons."""

    name: str
    filters: tuple[Filter, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns it needs."""
        return tuple(f.column for f in self.filters)

    @property
    def frozen(self) -> bool:
        """True where every filter is frozen."""
        return all(f.frozen for f in self.filters)


def parse(name: str, mapping: Mapping[str, Any], columns: Collection[str] | None = None) -> Policy:
    """The policy of a TOML table {column: {key: value}}; a column set to "off" or false is left out.

    `columns` are the columns that exist. Raises UserError for an unknown column or key (naming the closest one), a
    value of the wrong kind, and settings that contradict each other.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"policy name {name!r}: use letters, digits, '.', '_' and '-', it becomes a file name")
    if name == BY_HAND:
        raise UserError(
            f"policy name {name!r}: decisions/{name}.parquet holds what a person decided; take another name"
        )
    policy = Policy(name, tuple(_parse_filter(c, s) for c, s in mapping.items() if not _is_off(s)))
    if columns is not None:
        check_columns(policy, columns)
    return policy


def check_columns(policy: Policy, columns: Collection[str], run: Path | None = None) -> None:
    """Raise UserError where a filter's column is none of `columns`. run: where the scores are missing, for the command
    that makes them.
    """
    missing = [column for column in policy.columns if column not in columns]
    if not missing:
        return
    makers = _score_makers()
    for column in missing:
        if column not in makers:
            scores = {c for c in columns if c in makers} or set(columns)
            near = difflib.get_close_matches(column, set(columns), 1)
            raise UserError(f"policy.{column}: no such column{closest(column, near or scores)}")
    names = ",".join(dict.fromkeys(makers[column] for column in missing))
    first = f"annotators must name {names}; for a run that is there already," if run is None else "run"
    asked_for = ", ".join(f"policy.{column}" for column in missing)
    raise UserError(
        f"{asked_for}: there are no such scores; {first} `curate annotate {shlex.quote(str(run or 'RUN'))} --only"
        f" {names}`"
    )


def _score_makers() -> dict[str, str]:
    """column -> the annotator that makes it, for every column of ours that a filter can limit."""
    import pyarrow as pa

    from clipmill.curate.annotators import annotator_class, names

    found: dict[str, str] = {}
    for name in names():
        columns = annotator_class(name).columns
        # Those of a network's embeddings are known only with the network, and no filter limits a vector.
        known = columns.items() if isinstance(columns, Mapping) else ()
        for column, made in known:
            if not (pa.types.is_nested(made.type) or pa.types.is_binary(made.type)):
                found[column] = name
    return found


def override(policy: Policy, settings: Iterable[str], columns: Collection[str] | None = None) -> Policy:
    """The policy with `column.key=value` settings applied in order; `column=off` takes a filter out.

    A setting on one side replaces what limited that side, a new column is added at the end. Raises UserError as
    `parse` does.
    """
    wanted = asked(policy)
    before = {f.column: (f, dict(wanted[f.column])) for f in policy.filters}
    for setting in settings:
        column, key, value = _split(setting, wanted)
        if key is None:
            wanted.pop(column)
        else:
            _set(wanted.setdefault(column, {}), key, value)
    # Checked only now: min and max may each contradict the old other one on the way.
    kept = {c: f for c, (f, settings_) in before.items() if settings_ == wanted.get(c)}
    changed = replace(policy, filters=tuple(kept.get(c) or _parse_filter(c, s) for c, s in wanted.items()))
    if columns is not None:
        check_columns(changed, columns)
    return changed


def asked(policy: Policy) -> dict[str, dict[str, Any]]:
    """The inverse of `parse`, of a frozen policy too: a table {column: {key: value}} with targets instead of what they
    became.
    """
    return {filter_.column: _asked(filter_) for filter_ in policy.filters}


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Two policy tables, the second over the first: a setting takes away what limited the same side below it."""
    merged = dict(base)
    for column, settings in over.items():
        below = merged.get(column)
        if not isinstance(settings, Mapping) or not isinstance(below, Mapping):
            merged[column] = settings
            continue
        merged[column] = dict(below)
        for key, value in settings.items():
            _set(merged[column], key, value)
    return merged


def canonical(policy: Policy) -> str:
    """Canonical JSON of what decides, and nothing else: columns, limits, on_error, in order. Floats keep all digits."""
    if not policy.frozen:
        raise ValueError(f"policy {policy.name!r} must be frozen first")
    return json.dumps([_deciding(f) for f in policy.filters], sort_keys=True, separators=(",", ":"), allow_nan=False)


def policy_id(policy: Policy) -> str:
    """sha256 of `canonical`, hex. Equal ids decide every clip alike. Raises ValueError where the policy is not
    frozen.
    """
    return hashlib.sha256(canonical(policy).encode()).hexdigest()


def to_json(filter_: Filter) -> dict[str, Any]:
    """The filter as in decisions/<name>.json."""
    keys = ("column", "min", "max", "one_of", "on_error", "n_scored", "ci_low", "ci_high")
    row = {k: getattr(filter_, k) for k in keys} | {"requested": filter_.requested}
    return row | {"one_of": None if filter_.one_of is None else list(filter_.one_of)}


def from_json(row: Mapping[str, Any]) -> Filter:
    """The inverse of `to_json`: equal filters, to the last bit."""
    fields = {k: v for k, v in row.items() if k != "requested"} | dict(row["requested"] or {})
    one_of = fields.get("one_of")
    return Filter(**fields | {"one_of": None if one_of is None else tuple(one_of)})


def _deciding(filter_: Filter) -> dict[str, Any]:
    row = to_json(filter_)
    keys = (
        ["column", "min", "max", "one_of", "on_error"]
        if filter_.resolved
        else ["column", "min", "max", "requested", "on_error"]
    )
    return {k: row[k] for k in keys if row[k] is not None}


def _is_off(settings: Any) -> bool:
    return settings is False or settings == "off"


def _parse_filter(column: str, settings: Any) -> Filter:
    if not isinstance(settings, Mapping):
        raise UserError(
            f'policy.{column} is {settings!r}; write a table, for example {column} = {{ min = 0.1 }}, or "off"'
        )
    for key in settings:
        if key not in KEYS:
            raise UserError(f"policy.{column}.{key}: no such setting{closest(key, KEYS)}")
    values = {k: _read(f"policy.{column}.{k}", k, v) for k, v in settings.items()}
    _check_sense(column, values)
    if "equals" in values:
        values["one_of"] = values.pop("equals")
    return Filter(column, **values)


def _check_sense(column: str, values: Mapping[str, Any]) -> None:
    limits = [k for k in KEYS if k in values and k != "on_error"]
    if not limits:
        raise UserError(
            f"policy.{column} sets no limit; give it {', '.join(KEYS[:-1])}, or switch it off: {column}=off"
        )
    pairs = [("min", "drop_lowest"), ("max", "drop_highest"), ("drop_lowest", "drop_highest"), ("equals", "one_of")]
    pairs += [(side, choice) for choice in ("equals", "one_of") for side in KEYS[:4]]
    for one, other in pairs:
        if one in values and other in values:
            raise UserError(f"policy.{column}: {one} and {other} contradict each other, give one of them")
    if "min" in values and "max" in values and values["min"] > values["max"]:
        raise UserError(f"policy.{column}: min {values['min']:g} is above max {values['max']:g}, no clip can pass")


def _read(where: str, key: str, value: Any) -> Any:
    if key == "on_error":
        if value not in ON_ERROR:
            raise UserError(f"{where} is {value!r}; it can be {', '.join(ON_ERROR)}")
        return value
    if key in ("equals", "one_of"):
        return _values(where, key, value)
    return _share(where, value) if key.startswith("drop_") else _number(where, value)


def _values(where: str, key: str, value: Any) -> tuple[Value, ...]:
    values = value if key == "one_of" else [value]
    if (
        not isinstance(values, list | tuple)
        or not values
        or not all(isinstance(v, str | bool | int | float) for v in values)
    ):
        raise UserError(
            f"{where} is {value!r}; it takes {'a list of' if key == 'one_of' else 'one'} text, boolean or number"
        )
    if len({type(v) for v in values}) > 1:
        raise UserError(f"{where} mixes kinds of values: {value!r}")
    return tuple(values)


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{where} is {value!r}; it takes a finite number")
    return float(value) + 0.0  # -0.0 becomes 0.0, so that equal limits have equal ids


def _share(where: str, value: Any) -> float:
    percent = re.fullmatch(r"\s*([0-9.]+)\s*%\s*", value) if isinstance(value, str) else None
    try:
        share = float(percent[1]) / 100 if percent else float(value)
    except (TypeError, ValueError):
        raise UserError(f'{where} is {value!r}; it takes a share such as "25%" or 0.25') from None
    if isinstance(value, bool) or not 0 < share < 1:
        raise UserError(f'{where} is {value!r}; a share lies between 0 and 1, or is written "25%"')
    return share


def _split(setting: str, known: Collection[str]) -> tuple[str, str | None, Any]:
    name, equals, text = setting.removeprefix("policy.").partition("=")
    column, dot, key = name.strip().partition(".")
    if not equals or not column or (not dot and text.strip() not in ("off", "false")):
        raise UserError(
            f"{setting!r} is not column.key=value, for example motion.min=0.02, aesthetics.drop_lowest=25% or"
            " motion=off"
        )
    if not dot and column not in known:
        raise UserError(f"{setting!r}: the policy has no filter on {column!r}{closest(column, known)}")
    if not dot:
        return column, None, None
    try:
        return column, key, tomllib.loads(f"v = {text}")["v"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return column, key, text.strip()  # a bare word or a percentage


def _asked(filter_: Filter) -> dict[str, Any]:
    """The settings as a person would write them: a target instead of the threshold it was frozen into."""
    settings = {k: getattr(filter_, k) for k in KEYS if getattr(filter_, k, None) is not None}
    return {k: v for k, v in settings.items() if not (k in ("min", "max") and RIVALS[k] in settings)}


def _set(settings: dict[str, Any], key: str, value: Any) -> None:
    settings.pop(RIVALS.get(key, ""), None)
    if _is_off(value) and key not in ("equals", "one_of"):
        settings.pop(key, None)
    else:
        settings[key] = value
