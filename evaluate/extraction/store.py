"""Features on disk: Parquet parts keyed by content, so that an interrupted run goes on and a second metric costs
nothing.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
import pyarrow as pa
import pyarrow.dataset

from clipmill.curate.common.files import write_atomic
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


def default_cache() -> Path:
    """CLIPMILL_CACHE, or the user's cache folder."""
    return Path(os.environ.get("CLIPMILL_CACHE") or platformdirs.user_cache_dir("clipmill"))


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
    """

    def __init__(self, cache: Path | None, fingerprint: str) -> None:
        self._folder = None if cache is None else cache / "features" / fingerprint

    def read(self, keys: Iterable[str]) -> dict[str, Stored]:
        """Those that are stored, by key."""
        wanted = list(dict.fromkeys(keys))
        parts = sorted(self._folder.glob("*.parquet")) if self._folder is not None and self._folder.is_dir() else []
        found: dict[str, Stored] = {}
        if not parts:
            return found
        data = pyarrow.dataset.dataset([str(p) for p in parts], schema=_SCHEMA)
        for at in range(0, len(wanted), _CHUNK):
            table = data.to_table(filter=pyarrow.dataset.field("key").isin(wanted[at : at + _CHUNK]))
            found |= _stored_rows(table)
        return found

    def write(self, features: Mapping[str, Stored]) -> None:
        """One part, named by its keys: writing it twice is writing it once."""
        if not features or self._folder is None:
            return
        name = hashlib.sha256("\n".join(sorted(features)).encode()).hexdigest()[:16]
        columns = [
            sorted(features),
            [len(features[k].values) if features[k].values.ndim == 2 else 0 for k in sorted(features)],
            *([getattr(features[k].facts, column) for k in sorted(features)] for column in _FACTS.values()),
            [features[k].values.ravel() for k in sorted(features)],
        ]
        write_atomic(
            self._folder / f"{name}.parquet", pa.table(dict(zip(_SCHEMA.names, columns, strict=True)), schema=_SCHEMA)
        )


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
