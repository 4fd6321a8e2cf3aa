"""Writes docs/settings.md and docs/columns.md from the code, and the table of docs/systems.md from the pages of
systems: `python docs/make_pages.py`.
"""

import inspect
import re
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from clipmill.curate import annotators
from clipmill.curate.config import SECTIONS
from clipmill.curate.contract import schema
from clipmill.curate.contract.column import Column
from clipmill.evaluate.frames.protocol import Protocol
from clipmill.models.config import ModelConfig

DOCS = Path(__file__).parent
_SYSTEMS = "<!-- table systems -->", "<!-- end systems -->"
_MADE = "Made from the code by `python docs/make_pages.py`; do not edit.\n"
# `first, second: what they are` at the start of a sentence.
_NAMED = re.compile(r"(?:^|(?<=[.;] ))(\w+(?:, \w+)*): ")


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def settings_page() -> str:
    """Every setting, by section: type, default, and what its class says of it."""
    lines = ["# Settings", "", _MADE]
    lines += ["`--set SECTION.NAME=VALUE`, or a table `[SECTION]` in a TOML file."]
    lines += ["", "## curate: sections", *_sections(SECTIONS)]
    classes = {name: annotators.annotator_class(name) for name in annotators.names()}
    lines += ["", "## curate: annotators", *_sections(classes)]
    lines += ["", "## evaluate: a protocol", *_sections({"protocol": Protocol})]
    lines += ["", "## models", *_sections(_classes_within(ModelConfig))]
    return "\n".join(lines) + "\n"


def _classes_within(kind: type, where: str = "") -> dict[str, Any]:
    """Dotted name of a section -> its class, of the sections of a config and of those within them."""
    found: dict[str, Any] = {}
    for name, inner in typing.get_type_hints(kind).items():
        if is_dataclass(inner):
            found |= {where + name: inner} | _classes_within(inner, f"{where}{name}.")  # type: ignore[arg-type]
    return found


def _sections(classes: Mapping[str, Any]) -> list[str]:
    lines: list[str] = []
    for section, kind in classes.items():
        said = _said(kind)
        rows = [_row(f"`{f.name}`", f"`{_kind(f.type)}`", _default(f), said.get(f.name, "")) for f in fields(kind)]
        if rows:
            summary = (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")
            about = [] if _NAMED.search(summary) else ["", summary]
            lines += [
                "",
                f"### {section}",
                *about,
                "",
                _row("setting", "type", "default", ""),
                "|---|---|---|---|",
                *rows,
            ]
    return lines


def _said(kind: type) -> dict[str, str]:
    """setting -> what the docstrings of its class and of the class's bases say of it."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        text = " ".join((vars(base).get("__doc__") or "").split())
        marks = list(_NAMED.finditer(text))
        ends = [*(mark.start() for mark in marks[1:]), len(text)]
        for mark, end in zip(marks, ends, strict=False):
            found |= dict.fromkeys(mark[1].split(", "), text[mark.end() : end].strip())
    return found


def _kind(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not typing.get_args(kind) else str(kind).replace("typing.", "")


def _default(f: Any) -> str:
    value = f.default if f.default is not MISSING else f.default_factory() if f.default_factory is not MISSING else ""
    text = " ".join(repr(value).split()) if value != "" else ""
    return f"`{text if len(text) <= 60 else text[:57] + '...'}`" if text else ""


def columns_page() -> str:
    """Every column, by table: type, and what it is."""
    lines = ["# Columns", "", _MADE, "`manifest.parquet` holds those of `clips`, of the annotators that ran, of the"]
    lines += ["comparison, of the decisions and of the export, beside the text of the video.", ""]
    tables = {
        "videos": schema.VIDEO_COLUMNS,
        "clips": schema.CLIP_COLUMNS,
        "frames": schema.FRAME_COLUMNS,
        "manifest: from comparing clips": schema.JOINED_COLUMNS,
        "decisions": schema.DECIDED_COLUMNS,
        "manifest: the export": schema.INDEX_COLUMNS,
        "shards": schema.SHARD_COLUMNS,
    }
    for name, columns in tables.items():
        lines += _columns(name, columns)
    for name in annotators.names():
        annotator = annotators.annotator_class(name)()
        lines += _columns(f"annotations/{name}.v{annotator.version}", annotator.columns)
    return "\n".join(lines) + "\n"


def _columns(table: str, columns: Mapping[str, Column]) -> list[str]:
    rows = [_row(f"`{name}`", f"`{column.type}`", column.doc) for name, column in columns.items()]
    return [f"## {table}", "", _row("column", "type", "what it is"), "|---|---|---|", *rows, ""]


def systems_page() -> str:
    """docs/systems.md with its table of all systems as their pages say it now."""
    head, _, rest = (DOCS / "systems.md").read_text(encoding="utf-8").partition(_SYSTEMS[0])
    rows = [_system(path) for path in sorted((DOCS / "systems").glob("*.md"))]
    table = [
        _row("system", "paper", "here", "not here", "property, tested", "presets", "samples"),
        "|---|---|---|---|---|---|---|",
        *rows,
    ]
    return head + "\n".join([_SYSTEMS[0], *table, _SYSTEMS[1]]) + rest.partition(_SYSTEMS[1])[2]


def _system(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    facts = dict(re.findall(r"^\| ([a-z ]+) \| (.*) \|$", text.split("\n\n")[1], re.MULTILINE))
    name = text.splitlines()[0].removeprefix("# ")
    told = (facts[key].replace("\\|", "|") for key in ("paper", "here", "not here", "property", "presets"))
    sheet = path.with_suffix(".jpg")
    return _row(f"[{name}](systems/{path.name})", *told, f"[sheet](systems/{sheet.name})" if sheet.is_file() else "")


if __name__ == "__main__":
    (DOCS / "systems.md").write_text(systems_page(), encoding="utf-8")
    (DOCS / "settings.md").write_text(settings_page(), encoding="utf-8")
    (DOCS / "columns.md").write_text(columns_page(), encoding="utf-8")
