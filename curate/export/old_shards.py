"""The shards of earlier exports: removed once the manifest names others, and nobody reads them."""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clipmill.curate.common.files import read_table
from clipmill.curate.settings.export import SPLITS
from clipmill.curate.tables.run_dir import RunDir

# Of this export, of those before shards carried their export in their names, and what a killed one left.
_SHARD = re.compile(rf"(?:{'|'.join(SPLITS)})-(?:[0-9a-f]{{12}}-)?\d{{6,}}\.tar(\..*)?")


def remove_old_shards(run: RunDir) -> bool:
    """Remove every tar that shards.parquet does not name; a stale one would read as data. False where one is being read
    (see `clipmill.curate.dataset.ClipDataset`): then all of them stay.
    """
    table = run.root / "shards.parquet"
    if not table.is_file():
        return True
    current = set(read_table(table, columns=["shard"])["shard"].to_pylist())
    old = [path for path in run.shards.glob("*.tar*") if path.name not in current and _SHARD.fullmatch(path.name)]
    with _unread(old) as free:
        for path in old if free else ():
            path.unlink(missing_ok=True)
        return free


@contextmanager
def _unread(paths: list[Path]) -> Iterator[bool]:
    """Whether nobody holds any of the files; while it lasts nobody can begin to."""
    opened: list[int] = []
    try:
        for path in paths:
            opened.append(os.open(path, os.O_RDONLY))
            try:
                fcntl.flock(opened[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            except OSError:
                pass  # a file system without such locks
        yield True
    finally:
        for descriptor in opened:
            os.close(descriptor)
