"""Sets of videos, whatever they are stored as: an ordered list of videos, each with a name, a content key and a way to
its frames.

May import: curate alone.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from clipmill.curate.common.publish import manifest_files
from clipmill.curate.errors import UserError


class Frames(Protocol):
    """One opened video. A class may have `has_alpha`: whether its pictures have a transparency, which is left out."""

    def times_s(self) -> np.ndarray:
        """float64 [N], s, of every frame in display order; NaN where the storage knows no rate (frame folders,
        arrays).
        """

    def read(self, index: np.ndarray) -> np.ndarray:
        """uint8 [T, H, W, 3] RGB, upright, square pixels, of the frames at increasing `index`. Raises DecodeError."""


@dataclass(frozen=True)
class Video:
    """One video of a set. video_id: unique in the set. key: of its content; equal videos have equal keys. caption: may
    be empty. group: its source video, where several videos of the set come from one; else empty. beside: of what else
    a measurement looks at (its original, its caption); part of the measurement's key, not of the video's. columns: what
    its manifest says of it; empty without one.
    """

    video_id: str
    key: str
    open: Callable[[], AbstractContextManager[Frames]]
    caption: str = ""
    group: str = ""
    beside: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Skip:
    """A video that could not be used, and why, in one line."""

    video_id: str
    reason: str


@dataclass(frozen=True)
class VideoSet:
    """videos: in natural order of their names (frame2 before frame10). skipped: those that cannot even be listed as
    videos. origin: plain values that lead back from a score: the manifest and its sha256 and, of samples, the
    checkpoint; empty where nothing is recorded.
    """

    name: str
    kind: str
    videos: Sequence[Video]
    skipped: tuple[Skip, ...] = field(default=())
    origin: Mapping[str, Any] = field(default_factory=dict)


def open_set(spec: Any, where: str | None = None, index: Path | None = None) -> VideoSet:
    """The set that `spec` names (see `clipmill.evaluate.sets.specs.plain`).

    where: an SQL condition on the manifest's columns, for runs and manifests
    (see `clipmill.curate.common.sql`). index: a file that remembers the
    hashes of video files. Raises UserError, one line, where there is nothing, nothing matches, or the kind of set is
    unknown.
    """
    opened = _open(spec, where, index)
    if not opened.videos:
        reasons = f"; first: {opened.skipped[0].video_id}: {opened.skipped[0].reason}" if opened.skipped else ""
        raise UserError(f"no video to use in {opened.name} ({len(opened.skipped)} skipped{reasons})")
    return opened


def _open(spec: Any, where: str | None, index: Path | None) -> VideoSet:
    from clipmill.evaluate.sets import arrays, folders, lists, runs, tars
    from clipmill.evaluate.sets.specs import KINDS, named, plain

    spec = plain(spec)
    if isinstance(spec, np.ndarray | list):
        make = lists.paths_set if isinstance(spec, list) and isinstance(spec[0], Path) else arrays.array_set
        return _without_where(where, make, spec, named(spec))
    text, path = str(spec), Path(spec)
    if text.endswith(".tar"):
        return _without_where(where, tars.tar_set, text, index)
    if path.suffix in (".npy", ".npz") and path.is_file():
        return _without_where(where, arrays.file_set, path)
    if path.suffix == ".parquet" and path.is_file():
        return runs.manifest_set(path, where, index)
    if path.is_dir() and (manifest := manifest_files(path).switch).is_file():
        return runs.manifest_set(manifest, where, index)
    if path.suffix in (".txt", ".lst") and path.is_file():
        return _without_where(where, lists.list_set, path, index)
    if path.exists():
        return _without_where(where, folders.folder_set, path, index)
    if set(text) & set("*?["):
        return _without_where(where, lists.glob_set, text, index)
    raise UserError(f"there is no {text}; a set is {KINDS}")


def _without_where(where: str | None, make: Callable[..., VideoSet], *arguments: Any) -> VideoSet:
    if where is not None:
        raise UserError("--where needs the columns of a manifest: give a curate run or a manifest.parquet")
    return make(*arguments)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorts digits by value: frame2 before frame10 (stylegan-v issue 43: lexicographic order shuffles time)."""
    import re

    parts = re.split(r"(\d+)", name)
    return [(0, int(p), p) if p.isdigit() else (1, 0, p.lower()) for p in parts if p]
