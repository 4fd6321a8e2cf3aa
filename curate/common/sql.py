"""Conditions in SQL on tables, by DuckDB, in a connection that reaches nothing but the tables it is given.

A condition is what stands after WHERE: `motion > 0.1 AND source = 'ego'`. It comes from users and from files, so it is
parsed before it runs: one boolean expression, no second statement, no subquery, no function but those of
`sql_functions`. A row for which it is null is not taken. NaN counts as null: it is no score.
"""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from clipmill.curate.common.files import parse_json
from clipmill.curate.common.sql_functions import below, check_functions
from clipmill.curate.errors import UserError, closest, one_line

if TYPE_CHECKING:
    import duckdb

# The first closes files, the network, ATTACH, COPY and extensions; the last keeps SET and PRAGMA from opening them.
_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "allow_persistent_secrets": "false",
    "temp_directory": "",
    "lock_configuration": "true",
}
_REFUSED = {"SUBQUERY": "a subquery", "STAR": "a *", "PARAMETER": "a parameter"}
_TABLE = "clips"
_MOST_S, _AGAIN_S = 120.0, 0.1
_MORE = "it is more than one expression"


def connect(tables: Mapping[str, pa.Table]) -> "duckdb.DuckDBPyConnection":
    """An in-memory connection that sees these tables by their names, and no file, no network, no Python variable.

    Reading, writing, attaching, extensions and settings are refused by DuckDB. Half floats are shown as float32.
    """
    import duckdb

    connection = duckdb.connect(":memory:", config=_CLOSED)
    for name, table in tables.items():
        connection.register(name, _without_half_floats(table))
    return connection


def taken(table: pa.Table | pd.DataFrame, condition: str, known: Sequence[str] | None = None) -> np.ndarray:
    """bool [rows], True where the condition is true. known: columns that there are, where the table holds only some.
    Raises UserError, one line, for a condition that does not work.
    """
    import duckdb

    try:
        with connect({}) as connection:
            mentioned = _mentioned(connection, condition)
            connection.register(_TABLE, _columns(table, mentioned))
            with _in_time(connection):
                return _mask(connection, condition, len(table))
    except duckdb.InterruptException as error:
        raise UserError(f"the condition {condition[:200]!r} takes longer than {_MOST_S:g} s") from error
    except (duckdb.Error, UserError) as error:
        names = list(map(str, known or (table.column_names if isinstance(table, pa.Table) else table.columns)))
        raise UserError(f"the condition {condition!r} does not work: {_reason(error, condition, names)}") from error


def columns_of(condition: str, names: Sequence[str]) -> list[str]:
    """Which of these columns the condition names. Raises UserError, one line, where it is no condition."""
    import duckdb

    try:
        with connect({}) as connection:
            mentioned = _mentioned(connection, condition)
    except (duckdb.Error, UserError) as error:
        raise UserError(
            f"the condition {condition!r} does not work: {_reason(error, condition, list(names))}"
        ) from error
    return [name for name in names if name.lower() in mentioned]


def rows_where(table: pa.Table, condition: str, known: Sequence[str] | None = None) -> pa.Table:
    """The rows for which the condition is true, in their order. known, raises: as `taken`."""
    return table.filter(pa.array(taken(table, condition, known)))


def frame_where(table: pa.Table | pd.DataFrame, condition: str | None) -> pd.DataFrame:
    """The rows for which the condition is true, all of them for None, in pandas. Raises UserError as `taken` does."""
    if isinstance(table, pd.DataFrame):
        return table if condition is None else table[taken(table, condition)]
    return (table if condition is None else rows_where(table, condition)).to_pandas()


def _mask(connection: "duckdb.DuckDBPyConnection", condition: str, rows: int) -> np.ndarray:
    expression = f"({condition}\n)"  # a comment at the end of the condition ends there
    connection.sql(f"SELECT 1 FROM {_TABLE} WHERE {expression}")  # aggregates and windows are no conditions
    found = connection.sql(f"SELECT {expression} AS taken FROM {_TABLE}")
    if str(found.types[0]) not in ("BOOLEAN", '"NULL"', "NULL"):
        raise UserError(f"it is not true or false but {found.types[0]}")
    mask = pc.fill_null(found.to_arrow_table()["taken"].cast(pa.bool_()), False).to_numpy()
    if len(mask) != rows:
        raise UserError("it does not say one thing of each row")
    return mask


def _mentioned(connection: "duckdb.DuckDBPyConnection", condition: str) -> set[str]:
    """The names in the condition, lower case: columns, fields of structs, parameters of lambdas. Raises UserError where
    it is anything but one expression.
    """
    if not condition.strip():
        raise UserError("it is empty")
    select = _parsed(connection, condition)
    plain = _parsed(connection, "true")
    expressions = select.pop("select_list", [])
    del plain["select_list"]
    if len(expressions) != 1 or select != plain or expressions[0].get("alias"):
        raise UserError(_MORE)
    names: set[str] = set()
    nodes = list(below(expressions[0]))
    check_functions(nodes, partial(_known, connection))
    for node in nodes:
        if node.get("class") in _REFUSED:
            raise UserError(f"it holds {_REFUSED[node['class']]}")
        names.update(name.lower() for name in node.get("column_names", ()))
    return names


def _parsed(connection: "duckdb.DuckDBPyConnection", expression: str) -> dict[str, Any]:
    """The one SELECT that the expression makes, as DuckDB's own parser sees it."""
    asked = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [f"SELECT {expression}"])
    try:
        found = parse_json(asked.fetchall()[0][0])
    except ValueError as error:
        raise UserError("it is nested too deeply") from error
    if found["error"] and found["error_type"] != "not implemented":
        raise UserError(found["error_message"])
    if found["error"] or len(found["statements"]) != 1:  # what is no SELECT is not parsed into JSON
        raise UserError(_MORE)
    return found["statements"][0]["node"]


def _known(connection: "duckdb.DuckDBPyConnection", names: set[str]) -> set[str]:
    asked = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type IN ('scalar', 'macro')"
    return names & {name.lower() for (name,) in connection.execute(asked).fetchall()}


@contextmanager
def _in_time(connection: "duckdb.DuckDBPyConnection") -> Iterator[None]:
    """Whatever still takes for ever is ended."""
    done = threading.Event()

    def interrupt() -> None:
        done.wait(_MOST_S)
        while not done.wait(_AGAIN_S):  # a query that begins afterwards knows nothing of an earlier call
            connection.interrupt()

    watch = threading.Thread(target=interrupt, daemon=True)
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join()


def _columns(table: pa.Table | pd.DataFrame, mentioned: set[str]) -> pa.Table:
    """What the condition may read, at least one column, so that there are rows."""
    names = table.column_names if isinstance(table, pa.Table) else list(table.columns)
    chosen = [i for i, name in enumerate(names) if str(name).lower() in mentioned]
    if not chosen:
        return pa.table({"": pa.nulls(len(table), pa.bool_())})
    if isinstance(table, pd.DataFrame):
        return _without_nan(_from_pandas(table.iloc[:, chosen]))
    return _without_nan(_without_half_floats(table.select(chosen)))


def _from_pandas(frame: pd.DataFrame) -> pa.Table:
    try:
        return _without_half_floats(pa.Table.from_pandas(frame, preserve_index=False))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise UserError(f"a column holds values of several kinds ({one_line(error)})") from error


def _without_nan(table: pa.Table) -> pa.Table:
    for i, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            column = table.column(i)
            known = pc.if_else(pc.is_nan(column), pa.scalar(None, field.type), column)
            table = table.set_column(i, field.name, known)
    return table


def _without_half_floats(table: pa.Table) -> pa.Table:
    """DuckDB knows no half floats, as embeddings are stored."""
    for i, field in enumerate(table.schema):
        kind = _widened(field.type)
        if kind != field.type:
            table = table.set_column(i, field.name, table.column(i).cast(kind))
    return table


def _widened(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_widened(kind.value_type), kind.list_size)
    return pa.list_(_widened(kind.value_type)) if pa.types.is_list(kind) else kind


def _reason(error: Exception, condition: str, columns: list[str]) -> str:
    text = str(error).partition("\n")[0]  # the lines that follow list candidates and draw where
    found = re.search(r'column (?:named )?"([^"]+)"', text)
    if found is None or found[1].lower() in map(str.lower, columns):
        return text if isinstance(error, UserError) else text.partition(": ")[2] or text
    if f'"{found[1]}"' in condition:
        return f"there is no column {found[1]!r}; a text stands in single quotes, in double quotes a column"
    return f"there is no column {found[1]!r}{closest(found[1], columns)}"
