"""JSON objects of files as they must be: what stands in a file may be anybody's, and a key that is missing or holds
another kind of value is one line.

A shape says it of keys that may be there: `str`, `float` (any number), `[str]` (a list of texts), `{str: int}` (an
object of whole numbers), `{"name": str}` (an object with such keys), `dict` (any object).
"""

from collections.abc import Mapping
from typing import Any

from clipmill.curate.errors import UserError

_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
}


class Described(dict[str, Any]):
    """An object of a file. A key that it lacks is a UserError, in one line, and no KeyError."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        super().__init__(values)
        self.where = where

    def __missing__(self, key: str) -> Any:
        raise UserError(f"{self.where} has no {key!r}: it was changed or is damaged")


def described(values: Mapping[str, Any], shape: Mapping[str, Any], where: str) -> Described:
    """The values, objects within them too. where: the file. Raises UserError for a value of another kind, such as
    null.
    """
    found = Described(values, where)
    for name, kind in shape.items():
        if name not in values:
            continue
        value = values[name]
        if not _fits(value, kind):
            raise UserError(f"{where}: {name!r} is not {_word(kind)}: it was changed or is damaged")
        if isinstance(kind, dict) and str not in kind:
            found[name] = described(value, kind, f"{where}: {name}")
    return found


def _fits(value: Any, kind: Any) -> bool:
    if isinstance(kind, list):
        return isinstance(value, list) and all(_fits(one, kind[0]) for one in value)
    if isinstance(kind, dict) and str in kind:
        return isinstance(value, dict) and all(_fits(one, kind[str]) for one in value.values())
    if isinstance(kind, dict):
        return isinstance(value, dict) and all(n not in value or _fits(value[n], k) for n, k in kind.items())
    if kind is float:
        kind = int | float
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _word(kind: Any) -> str:
    if isinstance(kind, list):
        return f"a list, each of it {_word(kind[0])}"
    return "an object of the kind it should be" if isinstance(kind, dict) else _WORDS[kind]
