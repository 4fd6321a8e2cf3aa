"""WebDataset tars: every member with a video's suffix is a video, read where it lies."""

import glob
import hashlib
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from clipmill.curate.errors import UserError
from clipmill.evaluate.sets import Skip, Video, VideoSet, natural_key
from clipmill.evaluate.sets.files import FileFrames, bytes_frames

VIDEOS = frozenset({".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".ts"})


def tar_set(pattern: str) -> VideoSet:
    """The videos in all tars that match a glob, by name of tar and member. Raises UserError where no tar matches."""
    paths = sorted(glob.glob(pattern), key=natural_key)
    if not paths:
        raise UserError(f"no .tar matches {pattern}")
    videos: list[Video] = []
    skipped: list[Skip] = []
    for path in paths:
        try:
            videos += _members(Path(path))
        except (tarfile.TarError, OSError) as error:
            skipped.append(Skip(path, f"not a readable tar: {error}"))
    return VideoSet(pattern, "tars", videos, tuple(skipped))


def _members(path: Path) -> list[Video]:
    with tarfile.open(path) as tar:
        members = [m for m in tar if m.isfile() and Path(m.name).suffix.lower() in VIDEOS]
    found = []
    for member in members:
        suffix = Path(member.name).suffix.lower()
        open_ = partial(member_frames, path, member.offset_data, member.size, suffix)
        found.append(Video(f"{path.stem}/{Path(member.name).stem}", _key(path, member.offset_data, member.size), open_))
    return found


def _key(path: Path, offset: int, size: int) -> str:
    return hashlib.sha256(read_at(path, offset, size)).hexdigest()[:32]


def read_at(path: Path, offset: int, size: int) -> bytes:
    """`size` bytes of a file from `offset` on."""
    with open(path, "rb") as file:
        return os.pread(file.fileno(), size, offset)


@contextmanager
def member_frames(path: Path, offset: int, size: int, suffix: str) -> Iterator[FileFrames]:
    """A member of a tar opened as `Frames`."""
    with bytes_frames(read_at(path, offset, size), suffix) as frames:
        yield frames
