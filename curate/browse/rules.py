"""A policy as SQL, so that thresholds can be moved over a million clips while somebody drags them.

The same rules as `policy.decisions`, which decides: each filter says 0 pass, 1 fail, 2 error, 3 not run of a clip, and
a person's word stands above them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from clipmill.curate.browse.mapped import NOT_RUN as NOT_RUN_FLAG
from clipmill.curate.policy.decisions import ERROR, FAIL, NOT_RUN, PASS
from clipmill.curate.policy.policy import Filter

OUTCOME, HAND = "_outcome", "_hand"


@dataclass(frozen=True)
class Rules:
    """filters: frozen, in the policy's order. schema: of the clips. makers: column -> "motion.v1"."""

    filters: Sequence[Filter]
    schema: pa.Schema
    makers: Mapping[str, str]

    def source(self, clips: str = "clips") -> str:
        """A FROM clause: all columns of the table `clips`, what each filter says as _c0, _c1, ..., the outcome, and a
        person's verdict.
        """
        codes = "".join(f", {self._code(f)} AS _c{i}" for i, f in enumerate(self.filters))
        return (
            f"(SELECT judged.*, hand.verdict AS {HAND}, {self._outcome()} AS {OUTCOME}"
            f" FROM (SELECT {clips}.*{codes} FROM {clips}) AS judged LEFT JOIN hand USING (_row)) AS seen"
        )

    def margin(self, filter_: Filter) -> str:
        """Distance to the nearest limit in the column's unit, negative where the filter fails."""
        name, (low, high) = quoted(filter_.column), self._limits(filter_)
        sides = ([f"{name} - {low}"] if low else []) + ([f"{high} - {name}"] if high else [])
        return f"least({', '.join(sides)})" if sides else "NULL"

    def fails(self) -> str:
        """How many filters a clip fails."""
        return " + ".join(f"(_c{i} = {FAIL})::INT" for i in range(len(self.filters))) or "0"

    def _outcome(self) -> str:
        if not self.filters and "outcome" in self.schema.names:
            rule = "judged.outcome"
        else:
            words = ((FAIL, "dropped"), (ERROR, "error"), (NOT_RUN, "not_run"))
            any_ = [(" OR ".join(f"_c{i} = {code}" for i in range(len(self.filters))), word) for code, word in words]
            cases = " ".join(f"WHEN {test} THEN '{word}'" for test, word in any_ if test)
            rule = f"CASE {cases} ELSE 'kept' END" if cases else "'kept'"
        return f"CASE hand.verdict WHEN 'keep' THEN 'kept' WHEN 'drop' THEN 'dropped' ELSE {rule} END"

    def _code(self, filter_: Filter) -> str:
        if filter_.column not in self.schema.names:
            return str(NOT_RUN)
        name = quoted(filter_.column)
        if filter_.one_of is not None:
            values = ", ".join(_literal(value) for value in filter_.one_of)
            missing, fails = f"{name} IS NULL", f"{name} NOT IN ({values})"
        else:
            low, high = self._limits(filter_)
            missing = f"NOT coalesce(isfinite({name}::DOUBLE), false)"
            fails = (
                " OR ".join(([f"{name} < {low}"] if low else []) + ([f"{name} > {high}"] if high else [])) or "false"
            )
        return f"CASE WHEN {missing} THEN {self._without_score(filter_)} WHEN {fails} THEN {FAIL} ELSE {PASS} END"

    def _without_score(self, filter_: Filter) -> str:
        error = {"error": ERROR, "drop": FAIL, "keep": PASS}[filter_.on_error]
        maker = self.makers.get(filter_.column)
        if maker is None or "score_status" not in self.schema.names:
            return str(error)
        return f"CASE WHEN {quoted(NOT_RUN_FLAG + maker)} THEN {NOT_RUN} ELSE {error} END"

    def _limits(self, filter_: Filter) -> tuple[str, str]:
        """As SQL, in the column's precision, because scores are compared in it; "" for a side that is open."""
        kind = self.schema.field(filter_.column).type if filter_.column in self.schema.names else pa.float64()
        cast = "FLOAT" if pa.types.is_float32(kind) else "DOUBLE"
        low, high = (f"{value!r}::{cast}" if value is not None else "" for value in (filter_.min, filter_.max))
        return low, high


def quoted(name: str) -> str:
    """A column's name in SQL, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def _literal(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
