"""Features on disk: Parquet parts keyed by content, so that an interrupted run goes on and a second metric costs
nothing.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset

from clipmill.curate.common.files import beside, table_bytes
from clipmill.curate.common.log import Tell, silent
from clipmill.evaluate.extraction.clips import ClipFacts

_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("rows", pa.int32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("fps", pa.float64()),
        ("frames", pa.int32()),
        ("n_frames", pa.int64()),
        ("length_s", pa.float64()),
        ("repeated", pa.int32()),
        ("alpha", pa.bool_()),
        ("feature", pa.list_(pa.float32())),
    ]
)
# Column -> field of `ClipFacts`.
_FACTS = {
    "height": "height_px",
    "width": "width_px",
    "fps": "fps",
    "frames": "frames",
    "n_frames": "n_frames",
    "length_s": "length_s",
    "repeated": "repeated",
    "alpha": "alpha",
}
_CHUNK = 20_000


@dataclass(frozen=True)
class Stored:
    """What was measured of one clip. values: float32 [D], or [T, D] where single frames are seen. facts: of its
    frames.
    """

    values: np.ndarray
    facts: ClipFacts


class FeatureStore:
    """Features that one network made under one protocol. cache: None to remember nothing. fingerprint: of what made
    them.

    A part is named by its keys and by its bytes. Parts of an earlier version, which were named by keys alone, are not
    read: some were kept under what a manifest said instead of what was there.
    """

    def __init__(self, cache: Path | None, fingerprint: str, tell: Tell = silent) -> None:
        self._folder = None if cache is None else cache / "features" / fingerprint
        self._tell = tell
        self._checked: set[Path] = set()

    def read(self, keys: Iterable[str]) -> dict[str, Stored]:
        """Those that are stored, by key. A part whose bytes are not those that were written goes, so that its clips are
        measured again, and `tell` is told.
        """
        wanted = list(dict.fromkeys(keys))
        parts = self._whole_parts() if wanted else []
        found: dict[str, Stored] = {}
        if not parts:
            return found
        data = pyarrow.dataset.dataset([str(p) for p in parts], schema=_SCHEMA)
        for at in range(0, len(wanted), _CHUNK):
            table = data.to_table(filter=pyarrow.dataset.field("key").isin(wanted[at : at + _CHUNK]))
            found |= _stored_rows(table)
        return found

    def _whole_parts(self) -> list[Path]:
        whole, damaged = [], []
        for path in sorted(self._folder.glob("*-*.parquet")) if self._folder is not None else []:
            if path not in self._checked:
                data = _bytes(path)
                if data is None:  # gone: it was damaged, and another process has seen that
                    continue
                if path.stem.rpartition("-")[2] != _digest(data):
                    damaged.append(path)
                    continue
                self._checked.add(path)
            whole.append(path)
        for path in damaged:
            path.unlink(missing_ok=True)
        if damaged:
            self._tell(f"{len(damaged)} damaged parts of {self._folder} are made again")
        return whole

    def write(self, features: Mapping[str, Stored]) -> None:
        """One part, named by its keys and its bytes: writing it twice is writing it once. Raises OSError where the
        disk refuses; nothing is left then.
        """
        if not features or self._folder is None:
            return
        name = hashlib.sha256("\n".join(sorted(features)).encode()).hexdigest()[:16]
        columns = [
            sorted(features),
            [len(features[k].values) if features[k].values.ndim == 2 else 0 for k in sorted(features)],
            *([getattr(features[k].facts, column) for k in sorted(features)] for column in _FACTS.values()),
            [features[k].values.ravel() for k in sorted(features)],
        ]
        data = table_bytes(pa.table(dict(zip(_SCHEMA.names, columns, strict=True)), schema=_SCHEMA))
        path = self._folder / f"{name}-{_digest(data)}.parquet"
        self._folder.mkdir(parents=True, exist_ok=True)
        with beside(path) as temporary:
            temporary.write_bytes(data)
        self._checked.add(path)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _stored_rows(table: pa.Table) -> dict[str, Stored]:
    facts = table.select(list(_FACTS)).rename_columns(list(_FACTS.values())).to_pylist()
    found = {}
    for key, rows, feature, known in zip(table["key"], table["rows"], table["feature"], facts, strict=True):
        # A part of an earlier version does not know its clips' rates: they are measured again.
        if known["frames"] is not None:
            values = np.asarray(feature.values, np.float32)
            found[key.as_py()] = Stored(
                values.reshape(rows.as_py(), -1) if rows.as_py() else values, ClipFacts(**known)
            )
    return found
