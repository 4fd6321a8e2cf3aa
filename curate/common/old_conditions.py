"""Conditions as they were written before all of them were SQL: for `DataFrame.query`, or half SQL.

They stand in older presets and checkpoints, and may be anybody's. They are read with Python's parser and never run: a
plain condition is put into SQL that takes the same rows, all else is refused.
"""

import ast
import re
from functools import cache

from clipmill.curate.errors import UserError

_STRINGS = re.compile(r"('(?:[^']|'')*'|\"[^\"]*\")")
_TO_PYTHON = (
    (re.compile(r"<>"), "!="),
    (re.compile(r"(?<![<>=!])=(?!=)"), "=="),
    (re.compile(r"&"), " and "),  # DataFrame.query gives both the precedence of the words
    (re.compile(r"\|"), " or "),
    (re.compile(r"\b(AND|OR|NOT|IN)\b", re.I), lambda m: m[1].lower()),
    (re.compile(r"\b(\w+)\s+IS\s+not\s+NULL\b", re.I), r"\1.notna()"),
    (re.compile(r"\b(\w+)\s+IS\s+NULL\b", re.I), r"\1.isna()"),
    (re.compile(r"\b(\w+)\s+BETWEEN\s+(\S+)\s+and\s+(\S+)", re.I), r"(\1 >= \2 and \1 <= \3)"),
    (re.compile(r"\btrue\b", re.I), "True"),
    (re.compile(r"\bfalse\b", re.I), "False"),
)
_COMPARED: dict[type[ast.cmpop], str] = {ast.Eq: "=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
_COMPUTED: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_NULL = {"isna": "IS NULL", "isnull": "IS NULL", "notna": "IS NOT NULL", "notnull": "IS NOT NULL"}


class _NotPlainError(Exception):
    """A part that has no counterpart here."""


def to_sql(condition: str) -> str:
    """The condition in SQL; it takes the rows that it took in pandas, where a comparison with nothing is false and its
    opposite true. Raises UserError, one line, for what is no plain condition; nothing of it is run.
    """
    try:
        tree = ast.parse(_to_python(condition).strip(), mode="eval")
        return _condition(tree.body)
    except (_NotPlainError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(
            f"the condition {condition!r} is not read: conditions are SQL now, for example \"split = 'train' AND"
            ' motion > 0.1"; write it anew'
        ) from error


def _to_python(condition: str) -> str:
    parts = _STRINGS.split(condition)
    for i in range(0, len(parts), 2):
        for pattern, replacement in _TO_PYTHON:
            parts[i] = pattern.sub(replacement, parts[i])  # type: ignore[arg-type]
    parts[1::2] = [repr(p[1:-1].replace("''", "'")) for p in parts[1::2]]
    return "".join(parts)


def _condition(node: ast.expr) -> str:
    """What is true or false."""
    match node:
        case ast.BoolOp(op=ast.And(), values=values):
            return " AND ".join(_inside(value, ast.Or) for value in values)
        case ast.BoolOp(values=values):
            return " OR ".join(_inside(value) for value in values)
        case ast.UnaryOp(op=ast.Not() | ast.Invert(), operand=operand):
            return f"({_condition(operand)}) IS NOT TRUE"
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            operands = [left, *comparators]
            return " AND ".join(map(_compared, operands, ops, comparators))
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=attr), args=[], keywords=[]) if attr in _NULL:
            return f"{_name(name)} {_NULL[attr]}"
        case ast.Call(func=ast.Attribute(value=ast.Name() as name, attr="isin"), args=[values], keywords=[]):
            return _compared(name, ast.In(), values)
        case ast.Name(id=name):
            return _name(name)
        case ast.Constant(value=bool(value)):
            return str(value).upper()
    raise _NotPlainError


def _inside(node: ast.expr, *looser: type[ast.boolop]) -> str:
    text = _condition(node)
    return f"({text})" if isinstance(node, ast.BoolOp) and isinstance(node.op, looser) else text


def _compared(left: ast.expr, op: ast.cmpop, right: ast.expr) -> str:
    if isinstance(right, ast.List | ast.Tuple):
        if not isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) or not right.elts:
            raise _NotPlainError
        text = f"{_value(left)} IN ({', '.join(map(_constant, right.elts))})"
    elif isinstance(op, ast.In | ast.NotIn):
        raise _NotPlainError
    else:
        text = f"{_value(left)} {_COMPARED.get(type(op), '=')} {_value(right)}"
    return f"({text}) IS NOT TRUE" if isinstance(op, ast.NotEq | ast.NotIn) else text


def _value(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return _name(name)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _COMPUTED:
            return f"({_value(left)} {_COMPUTED[type(op)]} {_value(right)})"
    return _constant(node)


def _constant(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=bool(value)):
            return str(value).upper()
        case ast.Constant(value=int(value) | float(value)):
            return repr(value)
        case ast.Constant(value=str(value)):
            return "'" + value.replace("'", "''") + "'"
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(value) | float(value))):
            return f"-{value!r}"
    raise _NotPlainError


def _name(name: str) -> str:
    """A column; in double quotes where SQL has the word for itself, as `offset`."""
    return f'"{name}"' if name.lower() in _reserved() else name


@cache
def _reserved() -> frozenset[str]:
    from clipmill.curate.common.sql import connect

    with connect({}) as connection:
        asked = "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category != 'unreserved'"
        return frozenset(word for (word,) in connection.execute(asked).fetchall())
