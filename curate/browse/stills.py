"""The stored pictures of clips: first, middle, last frame as JPEG, read from the parts of `frames/`."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from clipmill.curate.common.files import is_bare, readable
from clipmill.curate.contract.annotator import ROLES
from clipmill.curate.tables.run_dir import RunDir

_MOST_BYTES = 64 << 20  # of pictures that are remembered
_BATCH = 256


class Stills:
    """Pictures of a run's clips. Reading one clip's remembers those that lie beside it: a page shows neighbours."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._bytes = 0

    def of(self, video_id: str, clip_id: str, role: str) -> bytes | None:
        """The JPEG of a role (first, middle, last), of another one where that is not there; None without any."""
        with self._lock:
            if not self._has(clip_id):
                self._read(video_id, clip_id)
            for name in (role, "middle", "first", "last"):
                if (clip_id, name) in self._known:
                    self._known.move_to_end((clip_id, name))
                    return self._known[(clip_id, name)]
        return None

    def _has(self, clip_id: str) -> bool:
        return any((clip_id, role) in self._known for role in ROLES)

    def _read(self, video_id: str, clip_id: str) -> None:
        for path in _parts(self._run, video_id):
            with readable(path):
                file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
                for batch in file.iter_batches(_BATCH, columns=["clip_id", "role", "jpeg"], use_threads=False):
                    rows = batch.to_pylist()
                    if any(row["clip_id"] == clip_id for row in rows):
                        for row in rows:
                            self._remember(row["clip_id"], row["role"], row["jpeg"])
                        return

    def _remember(self, clip_id: str, role: str, jpeg: bytes | None) -> None:
        if jpeg and (clip_id, role) not in self._known:
            self._known[(clip_id, role)] = jpeg
            self._bytes += len(jpeg)
        while self._bytes > _MOST_BYTES:
            self._bytes -= len(self._known.popitem(last=False)[1])


def _parts(run: RunDir, video_id: str) -> Iterator[Path]:
    """The parts that may hold a video's pictures."""
    if is_bare(video_id):
        yield from sorted((run.root / "frames").glob(f"{video_id}-*.parquet"))
