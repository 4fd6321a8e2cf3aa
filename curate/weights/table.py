"""The table of weights: what each is, where it is published, what uses it."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from clipmill.curate.common.package_files import read_file
from clipmill.curate.errors import UserError, closest


@dataclass(frozen=True)
class Weights:
    """Published weights. The fields are explained at the top of `table.toml`.

    sha256: hexadecimal digits that the file's digest begins with. md5: of the file (inside the archive, where there is
    one).
    size_bytes: of the file. parameters: how many numbers the network holds. None where nobody has vouched for a number.
    """

    name: str
    kind: Literal["file", "hub", "own"]
    source: str
    files: tuple[str, ...]
    licence: str
    used_by: tuple[str, ...]
    folder: bool = False
    sha256: str | None = None
    md5: str | None = None
    size_bytes: int | None = None
    parameters: int | None = None
    model: str | None = None
    pretrained: str | None = None
    elsewhere: tuple[str, ...] = ()

    @property
    def size(self) -> str:
        """For people: `3.7 MB`, or `about 605 MB` where only the number of parameters is known (as float32), or `size
        not published`.
        """
        if self.size_bytes is not None:
            return megabytes(self.size_bytes)
        return "size not published" if self.parameters is None else f"about {megabytes(4 * self.parameters)}"


def megabytes(size_bytes: int) -> str:
    """`3 kB`, `3.7 MB`, `1.7 GB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:.3g} {unit}"
    return f"{size_bytes / 1e3:.3g} kB"


def known() -> list[Weights]:
    """All weights of the table, by name."""
    return list(_table().values())


def weights_named(name: str) -> Weights:
    """Raises UserError, naming the closest, for a name that the table does not hold."""
    table = _table()
    if name not in table:
        raise UserError(f"there are no weights called {name!r}{closest(name, table)} (see `curate weights list`)")
    return table[name]


@cache
def _table() -> Mapping[str, Weights]:
    tree = tomllib.loads(read_file(__package__, "table.toml"))
    return {name: _row(name, tree[name]) for name in sorted(tree)}


def _row(name: str, values: Mapping[str, Any]) -> Weights:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return Weights(name, **fields)
