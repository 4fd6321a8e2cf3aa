"""The run directory: where each table lies, atomic part files that are their own resume markers, and reading them back.

A part is `<table>/<unit>-<fingerprint>.parquet`: one source video's rows, and the fingerprint of what made them. It is
written as `.tmp`, synced and renamed, so it is there whole or not at all; what a disk lost since is made again.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from clipmill.curate.common.files import is_bare, is_whole, own_name, read_table, write_atomic_streamed
from clipmill.curate.common.lock import alone
from clipmill.curate.common.log import Tell, silent
from clipmill.curate.common.publish import settle
from clipmill.curate.errors import UserError
from clipmill.curate.leases.lease import Lease, held, leases

_UNFINISHED = re.compile(r".*\.([A-Za-z0-9-]+-)?\d+\.tmp")
_WHOLE = "run"  # the lease of what changes all of a run
_SCRATCH = ".scratch"
_TABLE_DEPTH = 2  # annotations/motion.v1


@dataclass(frozen=True)
class RunDir:
    """Paths of a run directory. events_name: where events go, below `root`."""

    root: Path
    events_name: str = "run.jsonl"

    @property
    def manifest(self) -> Path:
        """One row per clip, with the columns of all annotators and the decision of the run's own policy."""
        return self.root / "manifest.parquet"

    @property
    def videos(self) -> Path:
        """One row per input file of the last run, unreadable files and copies included."""
        return self.root / "videos.parquet"

    @property
    def run_json(self) -> Path:
        """What made the run and what came of it: command, config, versions, counts, columns."""
        return self.root / "run.json"

    @property
    def events(self) -> Path:
        """One JSON object per line, appended whenever a unit of work has ended."""
        return self.root / self.events_name

    @property
    def shards(self) -> Path:
        """Folder of the exported clips and their index."""
        return self.root / "shards"

    @property
    def scratch(self) -> Path:
        """Temporary files of this process and its workers: no other process may take them away."""
        return self.root / _SCRATCH / own_name()

    def part(self, table: str, unit: str, fingerprint: str) -> Path:
        """The file of a unit's rows in `table` as `fingerprint` makes them, whether it is there or not. Raises
        UserError for a unit that is no name of a file: it may stand in a table of a stranger.
        """
        if not is_bare(unit):
            raise UserError(f"{self.root}: {unit!r} is no id of a video")
        return self.root / table / f"{unit}-{fingerprint}.parquet"

    def done(self, table: str, fingerprint: str) -> set[str]:
        """Units whose part of `table` was made by `fingerprint`: one directory listing."""
        folder, suffix = self.root / table, f"-{fingerprint}.parquet"
        if not folder.is_dir():
            return set()
        return {name.removesuffix(suffix) for name in os.listdir(folder) if name.endswith(suffix)}

    def units(self, table: str) -> set[str]:
        """Units that have a part of `table`, whatever made it: one directory listing."""
        folder = self.root / table
        names = os.listdir(folder) if folder.is_dir() else []
        return {name.partition("-")[0] for name in names if name.endswith(".parquet")}

    def has_any(self, table: str, unit: str) -> bool:
        """Whether there is a part of the unit, whatever made it: a listing for one unit, `units` for many."""
        return any((self.root / table).glob(f"{unit}-*.parquet"))

    def damaged(self, table: str, fingerprint: str, is_good: Callable[[Path], bool] = is_whole) -> set[str]:
        """The units whose part by `fingerprint` is no whole file, as a loss of power leaves them. is_good: another way
        to tell.
        """
        return {u for u in self.done(table, fingerprint) if not is_good(self.part(table, u, fingerprint))}

    def write(self, table: str, unit: str, fingerprint: str, rows: pa.Table) -> None:
        """Write a unit's part. What other parameters made of the unit stays until `remove_others`."""
        self.write_streamed(table, unit, fingerprint, rows.schema, [rows])

    def write_streamed(
        self, table: str, unit: str, fingerprint: str, schema: pa.Schema, parts: Iterable[pa.Table]
    ) -> None:
        """`write` for rows that come in parts, one row group each, so that they need not fit into memory together."""
        write_atomic_streamed(self.part(table, unit, fingerprint), schema, parts, synced=True)

    def remove_others(self, table: str, fingerprints: Mapping[str, str]) -> None:
        """Of each unit whose part of `table` is there as its fingerprint makes it, remove the parts that others made:
        one directory listing, where one for each part would take longer than the work in a folder of many.
        """
        folder = self.root / table
        there = set(os.listdir(folder)) if folder.is_dir() else set()
        for name in there:
            unit = name.partition("-")[0]
            made = f"{unit}-{fingerprints.get(unit)}.parquet"
            if name != made and made in there and name.endswith(".parquet"):
                (folder / name).unlink(missing_ok=True)

    def read(self, table: str, units: Iterable[str], fingerprint: str, schema: pa.Schema) -> pa.Table:
        """The rows of these units, in the order given; units without a part are left out."""
        paths = [self.part(table, unit, fingerprint) for unit in units]
        parts = [read_table(path, schema) for path in paths if path.exists()]
        return pa.concat_tables(parts) if parts else schema.empty_table()


@contextmanager
def changing(run: RunDir, tell: Tell = silent) -> Iterator[Lease]:
    """While it lasts no other command changes the run, on this machine or another. It begins where a command that was
    killed left off: what that one decided is in its place, what it had not finished is gone. tell: hears of a command
    that died. Raises UserError where another command is at work.
    """
    with alone(run.root), held(run.root, _WHOLE, tell) as lease:
        for other in leases(run.root):
            if other.name != _WHOLE and other.alive:
                raise UserError(
                    f"a part of {run.root} is being made by {other.holder}: wait until it has ended"
                    f" (`curate status {run.root}`), then run this one again"
                )
        settle(run.root)
        _remove_unfinished(run.root, _TABLE_DEPTH)
        _remove_scratch(run)
        yield lease


@contextmanager
def changing_part(run: RunDir, name: str, tell: Tell = silent) -> Iterator[Lease]:
    """While it lasts no other process makes the part of that name, and no command changes the run; other parts may be
    made. Nothing of others is removed. tell: as in `changing`. Raises UserError where another is at work.
    """
    with alone(run.root, shared=True), held(run.root, name, tell) as lease:
        for other in leases(run.root):
            if other.name == _WHOLE and other.alive:
                raise UserError(f"{run.root} is being changed by {other.holder}: wait until it has ended")
        settle(run.root)
        yield lease


def _remove_scratch(run: RunDir) -> None:
    """What others left, who are dead: this process is alone."""
    with suppress(FileNotFoundError):
        for path in (run.root / _SCRATCH).iterdir():
            if path != run.scratch:
                shutil.rmtree(path, ignore_errors=True)


def _remove_unfinished(folder: Path, depth: int) -> None:
    """Files that a killed process had begun, in the folder and so many levels below."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if depth:
                    _remove_unfinished(Path(entry.path), depth - 1)
            elif _UNFINISHED.fullmatch(entry.name):
                Path(entry.path).unlink(missing_ok=True)
