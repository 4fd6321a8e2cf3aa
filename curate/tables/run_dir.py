"""The run directory: where each table lies, atomic part files that are their own resume markers, and reading them back.

A part is `<table>/<unit>-<fingerprint>.parquet`: one source video's rows, and the fingerprint of what made them. It is
written as `.tmp`, synced and renamed, so it is there whole or not at all; what a disk lost since is made again. Parts
of many units may lie together, see `buckets`: ask for rows, not for files.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from clipmill.curate.tables.buckets import MARK, Bucket, beginnings, bucket_path, conform, open_bucket
from clipmill.curate.tables.parts import Parts, listed, print_of, without

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

    def listing(self, table: str) -> "Parts":
        """What there is of `table`: one directory listing."""
        return listed(self.root / table)

    def done(self, table: str, fingerprint: str) -> set[str]:
        """Units whose rows of `table` were made by `fingerprint`: one directory listing."""
        return self.listing(table).of(fingerprint).units

    def units(self, table: str) -> set[str]:
        """Units that have rows in `table`, whatever made them: one directory listing."""
        return self.listing(table).units

    def has_any(self, table: str, unit: str) -> bool:
        """Whether there are rows of the unit, whatever made them: a listing for one unit, `units` for many."""
        return unit in self.units(table)

    def has(self, table: str, unit: str, fingerprint: str) -> bool:
        """Whether there are rows of the unit by `fingerprint`, in a part of its own or in a bucket."""
        return self.part(table, unit, fingerprint).exists() or self._bucket(table, unit, fingerprint) is not None

    def rows(
        self, table: str, unit: str, fingerprint: str, schema: pa.Schema | None = None, columns: Sequence[str] = ()
    ) -> pa.Table | None:
        """The rows of one unit; None where there are none by `fingerprint`. schema: its columns in that order, null
        where the file has none of that name. columns: only these; () for all. Raises Damaged.
        """
        part = self.part(table, unit, fingerprint)
        if part.exists():
            return read_table(part, schema, columns or None)
        bucket = self._bucket(table, unit, fingerprint)
        if bucket is None:
            return None
        rows = bucket.rows(unit, columns or None)
        return rows if schema is None else conform(rows, schema)

    def _bucket(self, table: str, unit: str, fingerprint: str) -> Bucket | None:
        paths = (bucket_path(self.root / table, start, fingerprint) for start in beginnings(unit))
        return next((found for path in paths if (found := open_bucket(path)) and unit in found.units), None)

    def damaged(self, table: str, fingerprint: str, is_good: Callable[[Path], bool] = is_whole) -> set[str]:
        """The units whose part by `fingerprint` is no whole file, as a loss of power leaves them, or which lie in a
        bucket that is none. is_good: another way to tell.
        """
        there = self.listing(table).of(fingerprint)
        bad = {unit for unit, _ in there.parts if not is_good(self.part(table, unit, fingerprint))}
        for bucket in there.buckets:
            bad |= set() if is_good(bucket.path) else {u for u, held in there.holders.items() if held is bucket}
        return bad

    def remove_lost(self, table: str) -> list[Path]:
        """Remove the buckets that cannot be opened, so that nobody knows which units they held: their paths."""
        lost = self.listing(table).lost
        for path in lost:
            path.unlink(missing_ok=True)
        return lost

    def remove(self, table: str, units: Iterable[str], fingerprint: str) -> None:
        """Take the rows of these units away, as if they had not been made."""
        gone = set(units)
        for unit in gone:
            self.part(table, unit, fingerprint).unlink(missing_ok=True)
        for bucket in self.listing(table).of(fingerprint).buckets if gone else ():
            if gone & set(bucket.units):
                without(bucket, gone)

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
        made = {unit for unit, wanted in fingerprints.items() if f"{unit}-{wanted}.parquet" in there}
        found = listed(folder, there) if any(name.startswith(MARK) for name in there) else Parts()
        for wanted in set(fingerprints.values()) if found.buckets else ():
            made |= {unit for unit in found.of(wanted).units if fingerprints.get(unit) == wanted}
        for name in there:
            unit, _, rest = name.partition("-")
            if unit in made and rest != f"{fingerprints[unit]}.parquet" and name.endswith(".parquet"):
                (folder / name).unlink(missing_ok=True)
        for bucket in found.buckets:
            others = {unit for unit in bucket.units if fingerprints.get(unit) != print_of(bucket.path)}
            if others and others <= made and len(others) == len(bucket.units):
                bucket.path.unlink(missing_ok=True)

    def read(self, table: str, units: Iterable[str], fingerprint: str, schema: pa.Schema) -> pa.Table:
        """The rows of these units, in the order given; units without rows are left out. A bucket is read once."""
        there, whole = self.listing(table).of(fingerprint), dict[Path, pa.Table]()
        loose, parts = {unit for unit, _ in there.parts}, list[pa.Table]()
        for unit in units:
            bucket = there.holders.get(unit)
            if unit in loose:
                parts.append(read_table(self.part(table, unit, fingerprint), schema))
            elif bucket is not None:
                if bucket.path not in whole:
                    names = [name for name in schema.names if name in bucket.names]
                    whole[bucket.path] = conform(bucket.table(names), schema)
                first, end = bucket.units[unit]
                parts.append(whole[bucket.path].slice(first, end - first))
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
