"""What there is of one table of a run: parts of single units, and buckets of many."""

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow.parquet as pq

from clipmill.curate.common.files import readable
from clipmill.curate.tables.buckets import MARK, Bucket, newest_of, open_bucket, write_bucket


@dataclass(frozen=True)
class Parts:
    """parts: (unit, fingerprint) of those that have a file of their own. lost: buckets that cannot be opened."""

    parts: frozenset[tuple[str, str]] = frozenset()
    buckets: tuple[Bucket, ...] = ()
    lost: list[Path] = field(default_factory=list)

    @property
    def units(self) -> set[str]:
        """All that have rows."""
        return {unit for unit, _ in self.parts}.union(*(bucket.units for bucket in self.buckets))

    @property
    def fingerprints(self) -> set[str]:
        """What made them."""
        return {made_by for _, made_by in self.parts} | {print_of(bucket.path) for bucket in self.buckets}

    @cached_property
    def holders(self) -> dict[str, Bucket]:
        """unit -> the bucket that counts, whether or not it has a part, too. Of one fingerprint: see `of`."""
        return newest_of(self.buckets)

    def of(self, fingerprint: str) -> "Parts":
        """Those that it made."""
        buckets = tuple(bucket for bucket in self.buckets if print_of(bucket.path) == fingerprint)
        return Parts(frozenset(part for part in self.parts if part[1] == fingerprint), buckets)


def listed(folder: Path, names: Collection[str] | None = None) -> Parts:
    """Of a table's folder, which need not be there. names: its listing, where that is known."""
    if names is None:
        names = os.listdir(folder) if folder.is_dir() else ()
    parts, buckets, lost = set(), [], list[Path]()
    for name in names:
        unit, dash, rest = name.removesuffix(".parquet").rpartition("-")
        if not dash or not name.endswith(".parquet"):
            continue
        if not unit.startswith(MARK):
            parts.add((unit, rest))
        elif (bucket := open_bucket(folder / name)) is not None:
            buckets.append(bucket)
        else:
            lost.append(folder / name)
    return Parts(frozenset(parts), tuple(buckets), lost)


def print_of(path: Path) -> str:
    """The fingerprint that stands in the name of a part or a bucket."""
    return path.stem.rpartition("-")[2]


def without(bucket: Bucket, gone: Collection[str]) -> None:
    """Write the bucket again without these units; where none is left, it goes."""
    left = [unit for unit in bucket.units if unit not in gone]
    if not left:
        bucket.path.unlink(missing_ok=True)
        return
    with readable(bucket.path):
        schema = pq.read_schema(bucket.path)
    write_bucket(bucket.path, ((unit, bucket.rows(unit)) for unit in left), schema.remove_metadata())
