"""A video's clips as the run directory holds them: rows, stored pictures, and what annotators made of them."""

import functools
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa

from clipmill.curate.annotation.clip_view import ClipSource
from clipmill.curate.annotation.collector import Collector
from clipmill.curate.settings.fingerprints import Fingerprints
from clipmill.curate.tables.run_dir import RunDir

_SIGNALS = ("luma_mean", "luma_std", "dark_share", "difference")


class StoredVideo:
    """The tables of one video that is done. Pictures are read when a clip is looked at."""

    def __init__(self, run: RunDir, unit: str, prints: Fingerprints) -> None:
        self._run, self._unit, self._prints = run, unit, prints
        self.video: dict[str, Any] = self._base("videos").to_pylist()[0]
        self.clips: list[dict[str, Any]] = self._base("clips").to_pylist()

    @property
    def caption(self) -> str | None:
        """The sidecar's caption."""
        return self.video["caption"]

    @functools.cached_property
    def pts(self) -> np.ndarray:
        """int64 [N] of every decoded frame."""
        return self._base("curves")["pts"].to_numpy()

    def source(self, collector: Collector | None = None) -> ClipSource:
        """What annotators see; a collector, where the video was decoded again, has what no table holds."""
        curves, row = self._base("curves"), self.video
        pts = self.pts
        unit_s = float(Fraction(row["time_base_num"], row["time_base_den"])) if self.clips else 0.0
        return ClipSource(
            self.clips,
            np.searchsorted(pts, [c["start_pts"] for c in self.clips]).tolist(),
            np.searchsorted(pts, [c["end_pts"] for c in self.clips]).tolist(),
            (row["width"], row["height"]),
            (pts - pts[0]) * unit_s if len(pts) else np.zeros(0),
            {name: curves[name].to_numpy() for name in _SIGNALS if name in curves.column_names},
            self.jpegs,
            collector,
        )

    def jpegs(self, clip_id: str) -> Mapping[str, bytes]:
        """The clip's stored pictures by role."""
        frames, places = self._frames
        return {role: frames["jpeg"][i].as_py() for role, i in places.get(clip_id, {}).items()}

    def annotations(self, name: str) -> dict[str, dict[str, Any]]:
        """clip id -> the annotator's row; empty where it has not run."""
        rows = self._run.rows(self._prints.tables[name], self._unit, self._prints.annotations[name])
        return {} if rows is None else {row["clip_id"]: row for row in rows.to_pylist()}

    @functools.cached_property
    def _frames(self) -> tuple[pa.Table, dict[str, dict[str, int]]]:
        frames = self._base("frames")
        places: dict[str, dict[str, int]] = {}
        for i, frame in enumerate(frames.select(["clip_id", "role"]).to_pylist()):
            places.setdefault(frame["clip_id"], {})[frame["role"]] = i
        return frames, places

    def _base(self, table: str) -> pa.Table:
        rows = self._run.rows(table, self._unit, self._prints.base)
        if rows is None:
            raise FileNotFoundError(f"{self._run.root}: there is no part of {table} for the video {self._unit}")
        return rows
