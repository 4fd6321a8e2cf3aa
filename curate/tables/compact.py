"""Many parts become few files: a bucket for each beginning of video ids, written whole before its parts go."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from clipmill.curate.common.files import read_table, readable
from clipmill.curate.common.log import Tell, silent
from clipmill.curate.errors import Damaged
from clipmill.curate.tables.buckets import Bucket, bucket_path, digits_for, write_bucket
from clipmill.curate.tables.parts import Parts, listed
from clipmill.curate.tables.run_dir import RunDir

_PER_BUCKET = 400
# From so many parts of one table on a run is compacted before its tables are joined.
_MANY = 4096


@dataclass(frozen=True)
class Compacted:
    """How many files the tables had, and have. damaged: parts that cannot be read; they stay where they are."""

    before: int
    after: int
    damaged: tuple[Path, ...]


def has_many_parts(run: RunDir) -> bool:
    """Whether joining the run's tables would open thousands of files."""
    return len(run.listing("videos").parts) >= _MANY


def compact(run: RunDir, tell: Tell = silent) -> Compacted:
    """Gather the parts of every table. Nothing is lost where it is stopped: each bucket is whole or not there, and its
    parts go only then. The caller changes the run alone (see `run_dir.changing`).
    """
    before, damaged = 0, list[Path]()
    folders = tables_of(run)
    for folder in folders:
        there = listed(folder)
        before += len(there.parts) + len(there.buckets)
        for fingerprint in sorted(there.fingerprints):
            damaged += _gather(folder, fingerprint, there.of(fingerprint))
    after = sum(len(found.parts) + len(found.buckets) for found in map(listed, folders))
    for path in damaged:
        tell(f"{path} is damaged and stays as it is; the next `curate run` makes it again")
    return Compacted(before, after, tuple(damaged))


def tables_of(run: RunDir) -> list[Path]:
    """The folders of parts."""
    names = ("videos", "clips", "curves", "frames", "exports")
    annotations = run.root / "annotations"
    more = sorted(annotations.iterdir()) if annotations.is_dir() else []
    return [path for path in [*(run.root / name for name in names), *more] if path.is_dir()]


def _gather(folder: Path, fingerprint: str, there: Parts) -> list[Path]:
    """The parts of one fingerprint into buckets; those that cannot be read."""
    known = max((len(_beginning(b)) for b in there.buckets), default=0)
    digits = max(known, digits_for(len(there.units), _PER_BUCKET))
    loose = {unit for unit, _ in there.parts}
    buckets: dict[str, list[str]] = {}
    for unit in sorted(there.units):
        buckets.setdefault(unit[:digits], []).append(unit)
    damaged = []
    for beginning, units in buckets.items():
        path = bucket_path(folder, beginning, fingerprint)
        moved = {there.holders[unit].path for unit in units if unit not in loose} - {path}
        if moved or not loose.isdisjoint(units):
            damaged += _write(
                path, units, {u: folder / f"{u}-{fingerprint}.parquet" for u in units if u in loose}, there
            )
    for bucket in there.buckets:  # shorter beginnings: all that they held lies in longer ones now
        if len(_beginning(bucket)) < digits:
            bucket.path.unlink(missing_ok=True)
    return damaged


def _beginning(bucket: Bucket) -> str:
    return bucket.path.name.partition("-")[0][1:]


def _write(path: Path, units: list[str], loose: Mapping[str, Path], there: Parts) -> list[Path]:
    """One bucket of these units, and then their parts go; those that cannot be read stay, and are returned."""
    sources = {unit: loose.get(unit) or there.holders[unit].path for unit in units}
    damaged, schemas = list[Path](), list[pa.Schema]()
    for source in dict.fromkeys(sources.values()):
        try:
            with readable(source):
                schemas.append(pq.read_schema(source).remove_metadata())
        except Damaged:
            damaged.append(source)

    def parts() -> Iterator[tuple[str, pa.Table]]:
        for unit, source in sources.items():
            if source in damaged:
                continue
            try:
                yield unit, read_table(source) if unit in loose else there.holders[unit].rows(unit)
            except Damaged:
                damaged.append(source)

    if schemas:
        write_bucket(path, parts(), pa.unify_schemas(schemas))
    for part in loose.values():
        if part not in damaged:
            part.unlink(missing_ok=True)
    return damaged
