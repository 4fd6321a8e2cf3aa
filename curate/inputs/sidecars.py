"""Text that lies beside a video: NAME.txt, NAME.json, or a row of a CSV, TSV, JSONL or Parquet table in the input
folder.

    clips/a.mp4   clips/a.txt (the caption)   clips/a.json or a.mp4.json or a.info.json (yt-dlp)   clips/metadata.csv

A table is one with a column that names files (KEYS) and at least one of the text columns (FIELDS). A row belongs to the
file at that path, relative to the table's folder or to the input folder; only a name that leads nowhere as a path is
looked up as a bare name (with or without suffix) below the table's folder, and there it must be unique. Nearer text
wins, field by field: .txt, .json, then tables, deeper folders first.
"""

import codecs
import csv
import io
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from clipmill.curate.common.files import parse_json
from clipmill.curate.common.memory import check_unpacked
from clipmill.curate.errors import UserError
from clipmill.curate.inputs.files import NOT_VIDEOS, printable
from clipmill.curate.inputs.walk import walk

FIELDS: dict[str, tuple[str, ...]] = {
    "caption": ("caption", "captions", "text", "description"),
    "title": ("title",),
    "tags": ("tags", "keywords"),
    "license": ("license", "licence"),
    "source_url": ("source_url", "url", "webpage_url"),
}
KEYS = ("file", "file_name", "filename", "filepath", "file_path", "path", "video_path", "video", "name")
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
MAX_TEXT_BYTES = 4 << 20
MAX_TABLE_BYTES = 1 << 30

# What programs write where there is nothing.
_NOTHING = frozenset({"", "nan", "-nan", "none", "null", "nil", "n/a", "<na>", "#n/a", "nat", "undefined"})
_NO_TEXT = dict.fromkeys([*(n for n in range(32) if chr(n) not in "\t\n\r"), 127])

_LIKE_TEXT = re.compile("caption|prompt|text|descri|sentence|summary|transcript")

Text = dict[str, Any]


@dataclass(frozen=True)
class SidecarTables:
    """What the tables below the input folders say. texts: absolute path -> fields. problems: absolute path -> why a row
    that may belong to it was not used. warnings: of the tables themselves.
    """

    texts: Mapping[str, Text] = field(default_factory=dict)
    problems: Mapping[str, Sequence[str]] = field(default_factory=dict)
    warnings: Sequence[str] = ()


def find_sidecar_tables(roots: Iterable[Path]) -> SidecarTables:
    """Read every table below the input folders and find the file of each row. A broken table is a warning, never an
    error.
    """
    texts: dict[str, Text] = defaultdict(dict)
    problems: dict[str, list[str]] = defaultdict(list)
    warnings: list[str] = []
    given = [Path(os.path.abspath(root)) for root in roots]
    for root in (r for r in dict.fromkeys(given) if not any(other in r.parents for other in given)):
        tables, files = _walk(root)
        for table in sorted(tables, key=lambda t: (-len(t.parts), str(t))):
            above = [r for r in given if r in (table.parent, *table.parent.parents)]
            found = _Matches(_Files(table.parent, above, files), _shown(table))
            warning = found.read(table)
            warnings.extend([f"{_shown(table)}: {warning}"] if warning else found.unmatched())
            for path, text in found.texts.items():
                texts[path] = text | texts[path]
            for path, reasons in found.problems.items():
                problems[path].extend(reasons)
    return SidecarTables(dict(texts), dict(problems), tuple(dict.fromkeys(warnings)))


def sidecar_text(path: Path, relpath: str, tables: SidecarTables) -> tuple[Text, list[str]]:
    """The text of one video: caption, title, license, source_url (str or None), tags (list of str or None), and
    warnings.

    path: the video's own path. relpath: its name in warnings.
    """
    absolute = _same(os.path.abspath(path))
    warnings = [f"{relpath}: {problem}" for problem in tables.problems.get(absolute, ())]
    text: Text = {}
    for candidate in _beside(path):
        found, warning = _read_file(candidate)
        warnings.extend([f"{_shown(candidate)}: {warning}"] if warning else [])
        text = found | text
    text = dict(tables.texts.get(absolute, {})) | text
    return {name: text.get(name) for name in FIELDS}, warnings


def _beside(path: Path) -> list[Path]:
    names = [f"{stem}{suffix}" for suffix in (".txt", ".json", ".info.json") for stem in (path.name, path.stem)]
    # A file called a.json may itself be the video that is asked about: names lie.
    return [
        path.with_name(name) for name in dict.fromkeys(names) if name != path.name and path.with_name(name).is_file()
    ]


def _read_file(path: Path) -> tuple[Text, str | None]:
    """The fields of a .txt or .json, and a warning where it cannot be used."""
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            return {}, f"ignored, larger than {MAX_TEXT_BYTES >> 20} MB"
        text = _decode(path.read_bytes())
        if path.suffix == ".txt":
            return fields_of({"caption": text}), None
        value = parse_json(text)
    except OSError as error:
        return {}, f"cannot be read: {error.strerror}"
    except ValueError as error:
        return {}, f"ignored, not valid JSON ({str(error).splitlines()[0]})"
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    return (fields_of(value), None) if isinstance(value, dict) else ({}, "ignored, it holds no JSON object")


def _decode(data: bytes) -> str:
    """Bytes that are no text in their encoding become U+FFFD."""
    return data.decode(_encoding(data), "replace")


def _encoding(data: bytes) -> str:
    """UTF-8, or UTF-16 where its byte order mark says so."""
    return "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def fields_of(values: Mapping[Any, Any]) -> Text:
    """The known fields of a row with something in them, by whichever of their names it uses."""
    lowered = {str(k).strip().lower(): v for k, v in values.items() if k is not None}
    found: Text = {}
    for name, aliases in FIELDS.items():
        read = _words if name == "tags" else _line
        text = next((t for t in (read(lowered[alias]) for alias in aliases if alias in lowered) if t), None)
        if text:
            found[name] = text
    return found


def _line(value: Any) -> str | None:
    """Plain text of a value, without control characters; of a list, its first text; None where there is none, or only
    a program's word for nothing.
    """
    if isinstance(value, list | tuple):
        return next((text for text in map(_line, value) if text), None)
    if value is None or isinstance(value, dict) or value != value:  # NaN
        return None
    text = str(value).encode("utf-8", "replace").decode().translate(_NO_TEXT).strip()
    return None if text.casefold() in _NOTHING else text


def _words(value: Any) -> list[str] | None:
    """A list of tags, or a string of them between commas or semicolons."""
    parts = (
        value.replace(";", ",").split(",")
        if isinstance(value, str)
        else value
        if isinstance(value, list | tuple)
        else [value]
    )
    return list(dict.fromkeys(word for word in map(_line, parts) if word)) or None


def _walk(root: Path) -> tuple[list[Path], list[str]]:
    """Tables and files that may be videos (absolute paths) below a folder; links followed, each real folder
    once; hidden folders and run directories left out."""
    found = [path for path, problem in walk(Path(os.path.abspath(root))) if problem is None]
    runs = {p.parent for p in found if p.name == "run.json"} & {p.parent for p in found if p.name == "run.jsonl"}
    tables, files = [], []
    for path in found if not runs else (p for p in found if runs.isdisjoint(p.parents)):
        if path.name.lower().endswith(TABLE_SUFFIXES):
            tables.append(path)
        elif path.suffix.lower() not in NOT_VIDEOS:
            files.append(str(path))
    return tables, files


class _Files:
    """Finds the files that a row of a table may mean."""

    def __init__(self, folder: Path, roots: Sequence[Path], files: Sequence[str]) -> None:
        self._folders = (str(folder), *sorted(map(str, roots), key=len, reverse=True))
        self._paths = {_same(f) for f in files}
        self._names: dict[str, list[str]] = defaultdict(list)
        for path in files:
            if path.startswith(f"{folder}{os.sep}"):
                pure = PurePosixPath(_same(path))
                for name in {pure.name, pure.stem}:
                    self._names[name].append(str(pure))

    def find(self, key: str) -> tuple[list[str], bool]:
        """Absolute paths, and whether the key is their path (True) or only their bare name."""
        key = key.replace("\\", "/")
        for folder in self._folders:
            path = _same(os.path.normpath(os.path.join(folder, key)))
            if path in self._paths:
                return [path], True
        return self._names.get(_same(PurePosixPath(key).name), []), False


class _Matches:
    """The rows of one table with the files they mean. Only these are held, so a table may be much larger than the
    folder.

    texts: absolute path -> fields. problems: absolute path -> why a row that may belong to it is not used. Rows that
    have no text say nothing, and are not counted.
    """

    def __init__(self, files: _Files, table: str) -> None:
        self._files, self._table = files, table
        self._rows: dict[tuple[str, bool], list[Text]] = defaultdict(list)
        self._unclear: dict[str, list[str]] = defaultdict(list)
        self.texts: dict[str, Text] = {}
        self.problems: dict[str, list[str]] = {}
        self._n_rows = self._n_matched = 0
        self._complaint = ""
        self._lost: str | None = None

    def unmatched(self) -> list[str]:
        """The line that says which rows speak of no file; none where every row found its own."""
        if self._complaint and not self._n_rows:
            return [f"{self._table}: {self._complaint}"]
        if self._n_matched == self._n_rows:
            return []
        return [
            f"{self._n_matched} of {self._n_rows} rows of {self._table} match a file; no file here is called"
            f" {self._lost!r}"
        ]

    def read(self, path: Path) -> str | None:
        """Read the table; returns a warning where it cannot be read to its end."""
        warning = None
        try:
            if not path.is_file():  # to open a pipe is to wait for who writes into it
                return "ignored, no regular file"
            if path.stat().st_size > MAX_TABLE_BYTES:
                return f"ignored, larger than {MAX_TABLE_BYTES >> 20} MB"
            for row in rows_of(path):
                self._read_row(row)
        except OSError as error:
            warning = f"cannot be read: {error.strerror or str(error).splitlines()[0]}"
        except UserError as error:
            warning = f"ignored: {error}"
        except ValueError as error:  # Arrow's errors are such
            warning = f"cannot be read to its end as a table ({str(error).splitlines()[0]})"
        self._decide()
        return warning

    def _read_row(self, row: Mapping[Any, Any]) -> None:
        lowered = {str(k).strip().lower(): v for k, v in row.items() if k is not None}
        text = fields_of(lowered)
        key = next((str(lowered[k]).strip() for k in KEYS if lowered.get(k) is not None), "")
        if text and key:
            self._add(key, text)
        elif not self._complaint:
            self._complaint = self._cannot_use(list(map(str, row)), lowered, bool(text), key)

    def _cannot_use(self, columns: Sequence[str], row: Mapping[str, Any], has_text: bool, key: str) -> str:
        """Why this row says nothing about a file though it seems to; empty where it does not seem to."""
        if has_text and not any(name in row for name in KEYS):
            return (
                f"no column names a file, so its texts are not used (columns: {_few(columns)}; names are looked for in"
                f" {', '.join(KEYS)})"
            )
        texts = [alias for aliases in FIELDS.values() for alias in aliases]
        if any(name in row for name in texts):
            return ""
        if any(self._files.find(name)[0] for name in columns):
            return "its first line is a row and no header, so it is not used (write, for example, file,caption first)"
        if key and self._files.find(key)[0] and any(_LIKE_TEXT.search(name) for name in row):
            return (
                f"it names files, and no column is known to hold their text, so it is not used (columns:"
                f" {_few(columns)}; texts are looked for in {', '.join(texts)})"
            )
        return ""

    def _add(self, key: str, text: Text) -> None:
        paths, exact = self._files.find(key)
        self._n_rows, self._n_matched = self._n_rows + 1, self._n_matched + bool(paths)
        self._lost = self._lost or (None if paths else printable(key))
        if len(paths) == 1:
            self._rows[paths[0], exact].append(text)
        for path in paths if len(paths) > 1 else ():
            self._unclear[path].append(f"{self._table}: the name {key!r} means {len(paths)} files, write their paths")

    def _decide(self) -> None:
        """A path beats a bare name; rows that contradict each other are a problem, not a guess."""
        by_path = {path for path, exact in self._rows if exact}
        self.problems = {path: reasons for path, reasons in self._unclear.items() if path not in by_path}
        for (path, exact), rows in self._rows.items():
            if not exact and path in by_path:
                continue
            if any(row != rows[0] for row in rows):
                self.problems.setdefault(path, []).append(f"{self._table}: {len(rows)} different rows mean this file")
            else:
                self.texts[path] = rows[0]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def rows_of(path: Path, also: Sequence[str] = ()) -> Iterator[Mapping[Any, Any]]:
    """The rows of a table; of a Parquet file only the columns that may say something of a video, and those of `also`.
    Raises ValueError (Arrow's errors are such) where it is none.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _parquet_rows(path, also)
        return
    try:
        yield from _jsonl_rows(path) if suffix == ".jsonl" else _csv_rows(path)
    except csv.Error as error:
        raise ValueError(str(error)) from error


def _csv_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with _open(path) as file:
        header = next(_lines(file), "")
        file.seek(0)
        yield from csv.DictReader(_lines(file), delimiter=max(",;\t", key=header.count))


def _lines(file: io.TextIOWrapper) -> Iterator[str]:
    """Raises ValueError for one that is too long to be read."""
    while line := file.readline(MAX_TEXT_BYTES):
        if len(line) == MAX_TEXT_BYTES:
            raise ValueError(f"a line is longer than {MAX_TEXT_BYTES >> 20} MB")
        yield line


def _jsonl_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    with _open(path) as file:
        for line in _lines(file):
            value = parse_json(line) if line.strip() else None
            if isinstance(value, dict):
                yield value


def _open(path: Path) -> io.TextIOWrapper:
    with open(path, "rb") as file:
        encoding = _encoding(file.read(4))
    return open(path, encoding=encoding, errors="replace", newline="")


def _parquet_rows(path: Path, also: Sequence[str] = ()) -> Iterator[Mapping[str, Any]]:
    """Rows of the text columns: a boolean column called `text` is no caption."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    known = {alias for aliases in FIELDS.values() for alias in aliases} | {*KEYS, *(name.lower() for name in also)}

    def is_text(kind: pa.DataType) -> bool:
        kind = (
            kind.value_type
            if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_dictionary(kind)
            else kind
        )
        return pa.types.is_string(kind) or pa.types.is_large_string(kind)

    wanted = [f.name for f in file.schema_arrow if f.name.strip().lower() in known and is_text(f.type)]
    check_unpacked(path, wanted)
    for batch in file.iter_batches(columns=wanted):
        yield from batch.to_pylist()


def _same(text: str) -> str:
    """Names compared as NFC: file systems and spreadsheets disagree on how an accent is stored."""
    return unicodedata.normalize("NFC", text)


def _shown(path: Path) -> str:
    return printable(path.name)
