"""Plain values into frozen dataclasses: TOML presets, `--set key=value`, and errors that name the closest key."""

import json
import tomllib
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from clipmill.curate.common.package_files import file_names, read_file
from clipmill.curate.errors import UserError, closest, one_line

Section = TypeVar("Section")


def preset_names(folder: str = "clipmill.curate.presets") -> list[str]:
    """The presets in a folder of a package, by its dotted name."""
    return file_names(folder, ".toml")


def title_of(preset: str) -> str:
    """A preset's name, or that of its file without folder and ending: what its policy is called."""
    return Path(preset).name.removesuffix(".toml")


def read_preset(folder: str, preset: str) -> dict[str, Any]:
    """The tables of a preset in `folder`, or of a TOML file. Raises UserError, naming the closest, where there is
    none.
    """
    try:
        if preset.endswith(".toml"):
            text = Path(preset).read_text(encoding="utf-8")
        else:
            text = read_file(folder, f"{preset}.toml")
    except (OSError, UnicodeDecodeError) as error:
        if preset.endswith(".toml"):
            why = one_line(error) if isinstance(error, OSError) else "it is no text in UTF-8"
            raise UserError(f"cannot read the file {preset}: {why}") from error
        near = closest(preset, preset_names(folder))
        raise UserError(f"there is no preset {preset!r}{near} (a file's name ends in .toml)") from error
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{preset}: {error}") from error


def parse_override(text: str) -> dict[str, Any]:
    """`scenes.detector=cascade` -> {"scenes": {"detector": "cascade"}}. Values are TOML; a bare word is a string."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set takes key=value, for example scenes.detector=cascade; got {text!r}")
    try:
        parsed = tomllib.loads(f"v = {value}")["v"]
    except (tomllib.TOMLDecodeError, RecursionError):
        parsed = value.strip()
    for name in reversed(key.strip().split(".")):
        parsed = {name: parsed}
    return parsed


Settings = Mapping[str, Any] | Sequence[str]
"""Changes of a configuration: a mapping of (dotted, or nested) names to values, or texts `key=value`."""


def setting_texts(settings: Settings) -> list[str]:
    """Either way of writing settings as `key=value` texts, which `parse_override` reads back.

    Raises UserError for a text alone, where several are meant, and for a value that TOML cannot hold.
    """
    if isinstance(settings, str):
        raise UserError(f"settings are a mapping or a list of key=value, not the text {settings!r} alone")
    return list(_texts(settings, "")) if isinstance(settings, Mapping) else list(settings)


def _texts(tree: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _texts(value, f"{prefix}{name}.")
        elif isinstance(value, str | bool | int | float | list | tuple):
            yield f"{prefix}{name}={json.dumps(value, ensure_ascii=False)}"
        elif value is None or isinstance(value, Path):
            yield f"{prefix}{name}={json.dumps('none' if value is None else str(value), ensure_ascii=False)}"
        else:
            raise UserError(f"{prefix}{name} takes a text, a number, true, false or a list, not {value!r}")


def table_of(values: Any, where: str) -> dict[str, Any]:
    """A table as it came from TOML or from `--set`. Raises UserError for any other value."""
    if not isinstance(values, Mapping):
        raise UserError(f"{where} is a table of settings, not {values!r}")
    return dict(values)


def build(
    kind: type[Section], values: Mapping[str, Any], where: str, hint: Callable[[str], str] = lambda key: ""
) -> Section:
    """A dataclass from plain values. hint: of an unknown key, what else may have been meant. Raises UserError for an
    unknown key (naming the closest) or a value of the wrong type.
    """
    table_of(values, where)
    hints = typing.get_type_hints(kind)
    known = {f.name: hints[f.name] for f in fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise UserError(f"unknown setting {where}.{key}{closest(key, known)}{hint(key)}")
    try:
        return kind(**{key: _coerce(value, known[key], f"{where}.{key}") for key, value in values.items()})
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error


def _coerce(value: Any, kind: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if type(None) in arguments and (value is None or value == "none"):
            return None
        kinds = [a for a in arguments if a is not type(None)]
        words = [word for a in kinds if typing.get_origin(a) is typing.Literal for word in typing.get_args(a)]
        return _coerce(value, typing.Literal[*words] if words else kinds[0], where)
    if origin is typing.Literal:
        if value not in arguments:
            raise UserError(f"{where} is one of {', '.join(map(str, arguments))}, not {value!r}")
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_coerce(v, arguments[0], where) for v in value)
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return dict(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise UserError(f"{where} takes {getattr(kind, '__name__', kind)}, not {value!r}")
