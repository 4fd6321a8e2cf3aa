"""What each part of a run leaves for `curate status` and `curate finish`.

RUN/.parts/8/3-of-8.json      how it was asked for, by whom, what came of it
RUN/.parts/8/3-of-8.parquet   the sources of the part, as it found them
RUN/.parts/8/3-of-8.jsonl     one event per video, as in run.jsonl
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from clipmill.curate.common.files import parse_json, read_json, read_table, write_atomic, write_json
from clipmill.curate.common.shapes import described
from clipmill.curate.errors import UserError, is_full_disk
from clipmill.curate.inputs.files import Source, source_at
from clipmill.curate.parts.part import Part

FOLDER = ".parts"
LISTING = pa.schema(
    [
        ("uri", pa.string()),
        ("relpath", pa.string()),
        ("size_bytes", pa.int64()),
        ("sha256", pa.string()),
        ("problem", pa.string()),
    ]
)
_SHAPE: dict[str, Any] = {
    "command": str,
    "inputs": [str],
    "config": dict,
    "fingerprints": {str: str},
    "host": str,
    "process": int,
    "began_at": str,
    "began_s": float,
    "lazy": bool,
    "drop_missing": bool,
    "totals": {str: float},
    "finished_at": str,
    "problem": str,
}
_FAILED = ("error", "crashed", "timeout")


@dataclass(frozen=True)
class Record:
    """What a part says of itself.

    command, inputs: as asked for. config: `Config.as_dict`. fingerprints: what makes the base tables ("base") and those
    of annotators, versions of libraries among it. host, process: who made it last. began_at: UTC; began_s: the same in
    seconds since 1970. lazy, drop_missing: as asked for, for `finish`. totals: counts and seconds by stage.
    finished_at: UTC, "" where it has not ended well. problem: why not, "" where nobody could say.
    """

    command: str
    inputs: tuple[str, ...]
    config: Mapping[str, Any]
    fingerprints: Mapping[str, str]
    host: str
    process: int
    began_at: str
    began_s: float
    lazy: bool = False
    drop_missing: bool = False
    totals: Mapping[str, float] = field(default_factory=dict)
    finished_at: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Events:
    """Of a part's last command: how many videos it has ended, and when the last (seconds since 1970, None: none yet).
    failed: ids of the videos that ended badly, whichever command was the last to try.
    """

    n_ended: int
    last_s: float | None
    failed: frozenset[str]


@dataclass(frozen=True)
class PartFiles:
    """The files of one part of a run."""

    root: Path
    part: Part

    @property
    def events_name(self) -> str:
        """Below the run directory."""
        return f"{FOLDER}/{self.part.of}/{self.part.name}.jsonl"

    def _path(self, suffix: str) -> Path:
        return self.root / FOLDER / str(self.part.of) / f"{self.part.name}{suffix}"

    def write(self, record: Record) -> None:
        """Replaces what the part said before. Raises OSError."""
        self._path(".json").parent.mkdir(parents=True, exist_ok=True)
        write_json(self._path(".json"), asdict(record), synced=True)

    def read(self) -> Record | None:
        """None where the part has not begun. Raises UserError where the file is damaged."""
        path = self._path(".json")
        if not path.is_file():
            return None
        facts = described(read_json(path), _SHAPE, str(path))
        names = Record.__dataclass_fields__
        return replace(Record(**{name: facts[name] for name in names}), inputs=tuple(facts["inputs"]))

    def write_sources(self, sources: Sequence[Source]) -> None:
        """Raises OSError."""
        rows = [{name: getattr(source, name) for name in LISTING.names} for source in sources]
        write_atomic(self._path(".parquet"), pa.Table.from_pylist(rows, schema=LISTING), synced=True)

    def sources(self) -> list[Source] | None:
        """None where the part has not listed them yet. Raises UserError where the file is damaged."""
        path = self._path(".parquet")
        if not path.is_file():
            return None
        rows = read_table(path, LISTING).to_pylist()
        return [source_at(row.pop("uri"), **row) for row in rows]

    def events(self) -> Events:
        """What was told of its videos. A line that is cut short, as a killed process leaves it, is left out."""
        path, n_ended = self._path(".jsonl"), 0
        failed: set[str] = set()
        if not path.is_file():
            return Events(0, None, frozenset())
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            event = _event(line)
            if "part" in event:
                n_ended = 0
            elif "unit" in event:
                n_ended += 1
                (failed.add if event.get("status") in _FAILED else failed.discard)(str(event["unit"]))
        return Events(n_ended, path.stat().st_mtime if n_ended else None, frozenset(failed))


def _event(line: str) -> dict[str, Any]:
    with suppress(ValueError):
        found = parse_json(line)
        return found if isinstance(found, dict) else {}
    return {}


def parts_of(root: Path) -> list[PartFiles]:
    """All parts in which the run is being made, whether they have begun or not; empty where it is made in none. Raises
    UserError where somebody has begun with two numbers of parts.
    """
    numbers = _numbers(root)
    if len(numbers) > 1:
        raise UserError(f"{root} was begun in {' and in '.join(map(str, numbers))} parts: {_anew(root)}")
    return [PartFiles(root, Part(index, of)) for of in numbers for index in range(of)]


def check_number(root: Path, part: Part) -> None:
    """Raises UserError where the run is being made in another number of parts."""
    others = [of for of in _numbers(root) if of != part.of]
    if others:
        raise UserError(f"{root} is being made in {others[0]} parts, and {part} is none of them: {_anew(root)}")


def _numbers(root: Path) -> list[int]:
    folder = root / FOLDER
    return sorted(int(name) for name in os.listdir(folder) if name.isdecimal()) if folder.is_dir() else []


def _anew(root: Path) -> str:
    return (
        f"give the number of before; or remove {root / FOLDER} to begin with another one (what was made of videos"
        " stays)"
    )


def gather_events(root: Path) -> None:
    """Append the events of all parts to run.jsonl, in the order of the parts, and forget the parts: they are joined.
    Raises OSError where the disk is full.
    """
    with (root / "run.jsonl").open("a", encoding="utf-8") as target:
        for files in parts_of(root):
            path = root / files.events_name
            if path.is_file():
                target.writelines(f"{json.dumps(e)}\n" for e in map(_event, path.read_text().splitlines()) if e)
    try:
        shutil.rmtree(root / FOLDER)
    except OSError as error:
        if is_full_disk(error):
            raise
