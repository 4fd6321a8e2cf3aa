"""The small pictures of clips, read when two clips are compared: of all clips together they would fill memory."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from clipmill.curate.config import Config
from clipmill.curate.contract.annotator import ROLES
from clipmill.curate.duplicates.near import thumb_of
from clipmill.curate.tables.run_dir import RunDir

_MOST_UNITS = 256


class StoredThumbs:
    """See `duplicates.near.Thumbs`. Those of the videos that were asked for last are kept."""

    def __init__(self, run: RunDir, config: Config, clips: pa.Table) -> None:
        """clips: clip_id and video_id of the clips, by whose positions pictures are asked for."""
        self._run, self._clips = run, clips
        prints = config.fingerprints
        self._table, self._made_by = prints.tables.get("phash", ""), prints.annotations.get("phash", "")
        self._names = [f"thumb_{role}" for role in ROLES]
        self._units: OrderedDict[str, dict[str, list[np.ndarray | None]]] = OrderedDict()

    def __call__(self, position: int) -> Sequence[np.ndarray | None]:
        """uint8 [k, 32, 32] or None, of each role."""
        unit, clip = (self._clips[name][position].as_py() for name in ("video_id", "clip_id"))
        if unit not in self._units:
            self._units[unit] = self._read(unit)
            if len(self._units) > _MOST_UNITS:
                self._units.popitem(last=False)
        self._units.move_to_end(unit)
        return self._units[unit].get(clip, [None] * len(self._names))

    def _read(self, unit: str) -> dict[str, list[np.ndarray | None]]:
        rows = self._run.rows(self._table, unit, self._made_by, columns=["clip_id", *self._names])
        if rows is None:
            return {}
        return {row["clip_id"]: [thumb_of(row[name]) for name in self._names] for row in rows.to_pylist()}
