"""What an export left: RUN/shards/export.json beside the shards, and whether the shards are still as it says."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clipmill.curate.common.files import read_json, read_table
from clipmill.curate.common.publish import settle
from clipmill.curate.common.shapes import described
from clipmill.curate.errors import UserError
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.shard_files import check_shards

RECORD = "shards/export.json"
_SHAPE = {"state": str, "shards": [str], "failed": int, "reasons": {str: int}}
_REASONS_SHOWN = 3
_PLACE = ["clip_id", "shard", "offset", "size"]


@dataclass(frozen=True)
class Exported:
    """What an export left: numbers of shards, clips, failed clips; why they failed (reason -> clips, commonest first;
    an older record has none); whether the shards were there already.
    """

    shards: int
    clips: int
    failed: int
    reused: bool = False
    reasons: Mapping[str, int] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """One line for people."""
        failed = f"; {failures_text(self.failed, self.reasons)}" if self.failed else ""
        return f"{self.clips} clips in {self.shards} shards{' (up to date)' if self.reused else ''}{failed}"


def reasons_of(errors: Iterable[str]) -> dict[str, int]:
    """Reason -> clips, commonest first. What follows a colon is the detail of one clip or the remedy, and would part
    what is alike.
    """
    return dict(Counter(error.partition(": ")[0] for error in errors).most_common())


def failures_text(failed: int, reasons: Mapping[str, int]) -> str:
    """How many clips could not be exported, with the commonest reasons and their counts: part of one line."""
    shown = list(reasons.items())[:_REASONS_SHOWN]
    others = sum(reasons.values()) - sum(count for _, count in shown)
    parts = [f"{count}: {reason}" for reason, count in shown] + ([f"{others}: other reasons"] if others else [])
    return f"{failed} {'clip' if failed == 1 else 'clips'} could not be exported" + (
        f" ({'; '.join(parts)})" if parts else ""
    )


def record_of(state: str, shards: Sequence[str], done: Exported) -> dict[str, Any]:
    """The content of the file. state: fingerprint of all that decides the shards. shards: names of the tars."""
    return {"state": state, "shards": shards, "failed": done.failed, "reasons": done.reasons}


def read_record(run: RunDir, state: str, manifest: pa.Table) -> Exported | None:
    """What the last export left, where it was made from this state, every shard still has its size and its clips lie
    where the manifest says; else None.
    """
    settle(run.root)
    try:
        saved = described(read_json(run.root / RECORD), _SHAPE, str(run.root / RECORD))
        table = read_table(run.root / "shards.parquet")
        places = manifest.select(_PLACE).filter(pc.is_valid(manifest["shard"]))
        check_shards(run.root, places.to_pandas())
    except (OSError, ValueError, KeyError, UserError):  # pyarrow's errors are ValueErrors
        return None
    sizes = dict(zip(table["shard"].to_pylist(), table["size_bytes"].to_pylist(), strict=True))
    if saved.get("state") != state or not _are_whole(run, saved.get("shards") or (), sizes):
        return None
    clips = int(pc.sum(table["n_clips"]).as_py() or 0)
    return Exported(len(table), clips, saved.get("failed", 0), reused=True, reasons=saved.get("reasons", {}))


def _are_whole(run: RunDir, names: Sequence[str], sizes: Mapping[str, int]) -> bool:
    """Sizes, not hashes: a file that was cut short is noticed at once, and hashing a large set would take as long as
    reading it.
    """
    return set(names) == set(sizes) and all(_size_bytes(run.shards / name) == sizes[name] for name in names)


def _size_bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
