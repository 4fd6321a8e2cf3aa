"""A folder (or one file) of videos, or of folders of frames."""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from clipmill.curate.errors import DecodeError, UserError
from clipmill.curate.inputs.files import find_sources, index_sources, printable
from clipmill.evaluate.sets import Skip, Video, VideoSet, natural_key
from clipmill.evaluate.sets.files import file_frames

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})


class FolderFrames:
    """Pictures of one folder in natural order; no rate is known."""

    def __init__(self, pictures: Sequence[Path]) -> None:
        self._pictures = pictures

    def times_s(self) -> np.ndarray:
        """See `Frames`: NaN."""
        return np.full(len(self._pictures), np.nan)

    def read(self, index: np.ndarray) -> np.ndarray:
        """See `Frames`. Raises DecodeError for a picture that cannot be read or has another size."""
        frames = [_picture(self._pictures[i]) for i in index]
        if len({f.shape for f in frames}) > 1:
            raise DecodeError("its frames differ in size")
        return np.stack(frames)


def folder_set(path: Path, index: Path | None) -> VideoSet:
    """Videos below `path`; where there are none, every folder that holds pictures is a video."""
    try:
        sources, _ = find_sources([path])
    except UserError:
        found = _frame_folders(path)
        if not found:
            raise
        return VideoSet(str(path), "frame folders", found)
    with tempfile.TemporaryDirectory() as scratch:
        sources = index_sources(sources, index or Path(scratch) / "index.parquet", os.cpu_count() or 1, lambda _: None)
    videos = [
        Video(s.relpath, s.video_id, partial(file_frames, s.path), _caption(s.path)) for s in sources if s.video_id
    ]
    skipped = tuple(Skip(s.relpath, s.problem or "unreadable") for s in sources if not s.video_id)
    return VideoSet(str(path), "videos", sorted(videos, key=lambda v: natural_key(v.video_id)), skipped)


def _caption(path: Path) -> str:
    beside = path.with_suffix(".txt")
    try:
        return " ".join(beside.read_text(encoding="utf-8").split()) if beside.is_file() else ""
    except (OSError, UnicodeDecodeError):
        return ""


def _frame_folders(path: Path) -> list[Video]:
    found: dict[Path, list[Path]] = {}
    for folder, _, names in os.walk(path):
        pictures = [Path(folder, n) for n in names if Path(n).suffix.lower() in PICTURES and not n.startswith(".")]
        if pictures:
            found[Path(folder)] = sorted(pictures, key=lambda p: natural_key(p.name))
    videos = [Video(printable(f.relative_to(path).as_posix()), _key(p), partial(_opened, p)) for f, p in found.items()]
    return sorted(videos, key=lambda v: natural_key(v.video_id))


def _key(pictures: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(hashlib.sha256(picture.read_bytes()).digest())
    return digest.hexdigest()[:32]


def _picture(path: Path) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise DecodeError(f"{path.name} is not a picture")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))


@contextmanager
def _opened(pictures: Sequence[Path]) -> Iterator[FolderFrames]:
    yield FolderFrames(pictures)
