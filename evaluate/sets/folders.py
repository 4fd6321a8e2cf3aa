"""A folder (or one file) of videos, or of folders of frames."""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from clipmill.curate.errors import DecodeError, UserError
from clipmill.curate.inputs.files import Source, find_sources, index_sources, printable
from clipmill.curate.inputs.sidecars import SidecarTables, find_sidecar_tables, sidecar_text
from clipmill.curate.video.picture import decode_picture
from clipmill.curate.video.reader import open_video
from clipmill.evaluate.sets import Skip, Video, VideoSet, natural_key
from clipmill.evaluate.sets.files import source_frames

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})

_MOST_BYTES = 1 << 30


class FolderFrames:
    """Pictures of one folder in natural order; no rate is known."""

    def __init__(self, pictures: Sequence[Path]) -> None:
        self._pictures = pictures

    def times_s(self) -> np.ndarray:
        """See `Frames`: NaN."""
        return np.full(len(self._pictures), np.nan)

    @property
    def has_alpha(self) -> bool:
        """See `Frames`: of its first picture."""
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(self._pictures[0]) as picture:
                return "A" in picture.getbands() or "transparency" in picture.info
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
            return False

    def read(self, index: np.ndarray) -> np.ndarray:
        """See `Frames`. Raises DecodeError for a picture that cannot be read or has another size."""
        frames = [_picture(self._pictures[i]) for i in index]
        if len({f.shape for f in frames}) > 1:
            raise DecodeError("its frames differ in size")
        return np.stack(frames)


def folder_set(path: Path, index: Path | None) -> VideoSet:
    """Videos below `path`, or folders of frames. Raises UserError where it holds both: which of them is the set would
    be a guess.
    """
    frames = frame_folders(path) if path.is_dir() else []
    try:
        sources, _ = find_sources([path])
    except UserError:
        if not frames:
            raise
        return VideoSet(str(path), "frame folders", [video for video, _ in frames])
    numbered = [(video, pictures) for video, pictures in frames if _numbered(pictures, {s.path.stem for s in sources})]
    if not numbered:
        return videos_set(sources, str(path), index, [path])
    real = [source for source in sources if is_video(source.path)]
    if real:
        raise UserError(
            f"{path} holds {len(real)} videos ({real[0].relpath}) and {len(numbered)} folders of frames"
            f" ({numbered[0][0].video_id}): give a folder that holds one kind, or a glob such as '{path}/*.mp4'"
        )
    skipped = tuple(Skip(source.relpath, "no video, beside folders of frames") for source in sources)
    return VideoSet(str(path), "frame folders", [video for video, _ in frames], skipped)


def videos_set(sources: Sequence[Source], name: str, index: Path | None, roots: Sequence[Path]) -> VideoSet:
    """Video files, with the text that lies beside them. roots: folders whose tables (CSV, JSONL, Parquet) are read."""
    with tempfile.TemporaryDirectory() as scratch:
        at = index or Path(scratch) / "index.parquet"
        sources = index_sources(sources, at, os.cpu_count() or 1, lambda _: None)
    tables = find_sidecar_tables([root for root in roots if root.is_dir()])
    videos = [
        Video(s.relpath, s.video_id, source_frames(s), caption_of(s.path, s.relpath, tables))
        for s in sources
        if s.video_id
    ]
    skipped = tuple(Skip(s.relpath, s.problem or "unreadable") for s in sources if not s.video_id)
    return VideoSet(name, "videos", sorted(videos, key=lambda v: natural_key(v.video_id)), skipped)


def caption_of(path: Path, relpath: str, tables: SidecarTables) -> str:
    """As a curate run reads it: NAME.txt, NAME.json, or a row of a table; empty where there is none."""
    return " ".join(str(sidecar_text(path, relpath, tables)[0]["caption"] or "").split())


def is_video(path: Path) -> bool:
    """Whether a file is a video, whatever its name."""
    try:
        with open_video(path):
            return True
    except (DecodeError, OSError):
        return False


def _numbered(pictures: Sequence[Path], videos: Set[str]) -> bool:
    """Whether pictures are the frames of a video: several, with numbers in their names, and not thumbnails of
    `videos`.
    """
    frames = [p for p in pictures if any(c.isdigit() for c in p.stem) and p.stem not in videos]
    return len(frames) > 1


def frame_folders(path: Path) -> list[tuple[Video, list[Path]]]:
    """Every folder below `path`, itself too, that holds pictures, with these, in natural order."""
    found: dict[Path, list[Path]] = {}
    for folder, _, names in os.walk(path):
        pictures = [Path(folder, n) for n in names if Path(n).suffix.lower() in PICTURES and not n.startswith(".")]
        if pictures:
            found[Path(folder)] = sorted(pictures, key=lambda p: natural_key(p.name))
    videos = [(frame_video(printable(f.relative_to(path).as_posix()), f, p), p) for f, p in found.items()]
    return sorted(videos, key=lambda pair: natural_key(pair[0].video_id))


def frame_video(name: str, folder: Path, pictures: Sequence[Path]) -> Video:
    """The video whose frames are these pictures."""
    return Video(name, _key(pictures), partial(_opened, pictures), caption_of(folder, name, SidecarTables()))


def _key(pictures: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for picture in pictures:
        with picture.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]


def _picture(path: Path) -> np.ndarray:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"larger than {_MOST_BYTES >> 20} MB")
        return decode_picture(path.read_bytes())
    except ValueError as error:
        raise DecodeError(f"{path.name}: {error}") from error


@contextmanager
def _opened(pictures: Sequence[Path]) -> Iterator[FolderFrames]:
    yield FolderFrames(pictures)
