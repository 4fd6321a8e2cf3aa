"""Decisions by hand to and from people's files: a CSV of all of them, a list of clips."""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from clipmill.curate.common.files import write_text
from clipmill.curate.errors import UserError, one_line
from clipmill.curate.policy.by_hand import HAND, Word

_TEXTS = ("clip_id", "verdict", "note", "caption", "who")
# What a spreadsheet takes for a formula. An apostrophe before it makes it text there, and is taken off again here.
_FORMULA, _DISARMED = re.compile(r"'*[=+\-@\t\r]"), re.compile(r"'+[=+\-@\t\r]")


def write_csv(path: Path, words: Mapping[str, Word]) -> None:
    """One line per clip, by clip, under the names of HAND's columns; UTF-8, times in ISO 8601. To a spreadsheet no text
    is a formula.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HAND.names)
    for clip in sorted(words):
        word = words[clip]
        when = word.when.astimezone(UTC).isoformat() if word.when else ""
        writer.writerow([*(_disarmed(getattr(word, name) or "") for name in _TEXTS), when])
    write_text(path, out.getvalue())


def read_csv(path: Path) -> list[Word]:
    """The words of such a file; columns in any order, only clip_id has to be there. Raises UserError, one line, for a
    file that is none, and for the first line that cannot be understood.
    """
    reader = csv.DictReader(io.StringIO(_text(path)))
    if "clip_id" not in (reader.fieldnames or ()):
        raise UserError(
            f"{path}: its first line names no column clip_id; `curate hand RUN --to FILE` writes such a file"
        )
    found = []
    try:
        for row in reader:
            found.append(_word(row, f"{path}, line {reader.line_num}"))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: {one_line(error)}") from error
    return found


def read_list(path: Path) -> list[str]:
    """Clip ids, one a line (what follows a comma or a space is passed over, as are a header, empty lines and those that
    begin with #). Raises UserError where the file cannot be read.
    """
    lines = (line.replace(",", " ").split() for line in _text(path).splitlines() if not line.startswith("#"))
    return [words[0] for words in lines if words and words[0] != "clip_id"]


def listed(paths: Mapping[str, Path | None], known: Iterable[str]) -> list[Word]:
    """Words of lists: {"keep": FILE, "drop": FILE}. Raises UserError for a clip that the run does not have, or that
    stands in both lists.
    """
    clips = set(known)
    words: dict[str, str] = {}
    for verdict, path in paths.items():
        for clip in read_list(path) if path else ():
            if clip not in clips:
                raise UserError(f"{path}: the run has no clip {clip[:80]!r}")
            if words.get(clip, verdict) != verdict:
                raise UserError(f"{path}: clip {clip} stands in the list of what is included, too")
            words[clip] = verdict
    return [Word(clip, verdict, note=f"from {_name(paths[verdict])}") for clip, verdict in words.items()]


def _disarmed(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text


def _armed(text: str) -> str:
    return text[1:] if _DISARMED.match(text) else text


def _name(path: Path | None) -> str:
    return path.name if path else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8") from error


def _word(row: Mapping[str, str | None], where: str) -> Word:
    clip, verdict, note, caption, who = (_armed((row.get(name) or "").strip()) or None for name in _TEXTS)
    if clip is None:
        raise UserError(f"{where}: there is no clip_id")
    try:
        when = datetime.fromisoformat(row["when"] or "") if row.get("when") else None
        return Word(clip, verdict, note, caption, who, when.replace(tzinfo=when.tzinfo or UTC) if when else None)
    except ValueError:
        raise UserError(
            f"{where}: {(row['when'] or '')[:40]!r} is no time, such as 2026-11-28T09:00:00+00:00"
        ) from None
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
