"""Lists of videos: TXT (one on each line), CSV, TSV, JSONL or Parquet, with their captions and what else is known.

A list may be anybody's. A path counts from the list's own folder (`inputs.root`: another one), and what leads out of it
is not read; an address is one of http, https, s3, without credentials (see `clipmill.curate.storage`).
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clipmill.curate.errors import UserError, first_line
from clipmill.curate.inputs.files import Source, printable, source_at
from clipmill.curate.inputs.sidecars import KEYS, Text, fields_of, rows_of
from clipmill.curate.settings.inputs import InputsConfig
from clipmill.curate.storage.address import address_of, check_address, shown

SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")
_KEYS = (*KEYS, "url", "video_url", "uri", "address")
_HEAD_BYTES = 4096


def is_list(path: Path) -> bool:
    """Whether a file that was given itself is a list of videos, and no video: by its name, and because it is text."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if suffix == ".parquet":
        return head.startswith(b"PAR1")
    return b"\0" not in head or head[:2] in (b"\xff\xfe", b"\xfe\xff")  # UTF-16


def read_list(path: Path, how: InputsConfig) -> Iterator[tuple[Source, Text]]:
    """Each video of a list, and the text that the list has about it. What must not be read is a source with that
    problem.

    Raises UserError where the list cannot be read to its end, or no column names the videos.
    """
    root = Path(os.path.abspath(Path(how.root).expanduser() if how.root else path.parent))
    try:
        for number, row in enumerate(_rows(path, how)):
            place = _place(path, row, how, number)
            if place:
                yield _source(place, root), _text(row, how)
    except (OSError, ValueError) as error:
        raise UserError(f"{printable(str(path))} cannot be read as a list: {first_line(error, 120)}") from error


def _rows(path: Path, how: InputsConfig) -> Iterator[Mapping[Any, Any]]:
    if path.suffix.lower() != ".txt":
        yield from rows_of(path, [*_KEYS, *filter(None, (how.url_col, how.caption_col))])
        return
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        yield from ({"path": line.strip()} for line in file if line.strip())


def _place(path: Path, row: Mapping[Any, Any], how: InputsConfig, number: int) -> str:
    """What the row names; empty for a row that names nothing. Raises UserError where the list has no such column."""
    lowered = {str(name).strip().lower(): value for name, value in row.items() if name is not None}
    keys = [how.url_col.lower()] if how.url_col else _KEYS
    key = next((name for name in keys if lowered.get(name) is not None), None)
    if key is None and number == 0 and not any(name in lowered for name in keys):
        wanted = f"no column {how.url_col!r}" if how.url_col else "no column that names videos"
        raise UserError(
            f"{printable(path.name)} has {wanted} (columns: {', '.join(map(str, list(row)[:8]))}): --url-col names it"
        )
    return "" if key is None else str(lowered[key]).strip()


def _source(place: str, root: Path) -> Source:
    address = address_of(place)
    if address is not None:
        try:
            check_address(address)
        except UserError as error:
            return source_at(shown(address), problem=str(error))
        return source_at(address)
    path = Path(os.path.normpath(root / place.replace("\0", "?")))
    if not path.is_relative_to(root) or path == root:
        return Source(path, printable(place), problem=f"it lies outside {printable(str(root))}: --set inputs.root=DIR")
    return Source(path, printable(path.relative_to(root).as_posix()))


def _text(row: Mapping[Any, Any], how: InputsConfig) -> Text:
    own = next((row[name] for name in row if how.caption_col and str(name).lower() == how.caption_col.lower()), None)
    return fields_of(row if own is None else {**row, "caption": own})
