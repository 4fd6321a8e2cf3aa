"""WebDataset tars: every member with a video's suffix is a video, read where it lies."""

import glob
import hashlib
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from clipmill.curate.common.content import Digests, Span
from clipmill.curate.common.files import parse_json
from clipmill.curate.common.log import say
from clipmill.curate.errors import DecodeError, UserError, one_line
from clipmill.evaluate.sets import Skip, Video, VideoSet, natural_key
from clipmill.evaluate.sets.files import FileFrames, bytes_frames

_MOST_JSON_BYTES = 1 << 20
# What precedes a member: its long name, its attributes.
_HEADERS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
_MOST_HEADER_BYTES = 1 << 17
_MANY_DIGITS = re.compile(rb"\d{256}")  # the parser's time grows with their square
_MOST_FOR_ALL = 64  # attributes of all members; each member holds its own list of them
_BAD = (tarfile.TarError, OSError, MemoryError, OverflowError, ValueError, IndexError, RecursionError)
VIDEOS = frozenset({".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".ts"})


class _Member(tarfile.TarInfo):
    """A member whose headers are bounded: some bytes may claim a name of gigabytes, lie before themselves, or keep the
    parser busy for hours.
    """

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        """What `tarfile` calls for each header, and calls it so that it can be overridden."""
        assert tar.fileobj is not None
        if self.size < 0 or (self.type in _HEADERS and self.size > _MOST_HEADER_BYTES):
            raise tarfile.ReadError(f"a header claims {self.size:,} bytes, up to {_MOST_HEADER_BYTES:,} are read")
        if self.type in _HEADERS:
            place = tar.fileobj.tell()
            if _MANY_DIGITS.search(tar.fileobj.read(self.size)):
                raise tarfile.ReadError("a header holds a number of hundreds of digits")
            tar.fileobj.seek(place)
        start = tar.offset
        member: tarfile.TarInfo = super()._proc_member(tar)  # type: ignore[misc]
        if member.size < 0 or tar.offset <= start:
            raise tarfile.ReadError(f"{member.name[:80]!r} claims {member.size:,} bytes")
        if len(tar.pax_headers) > _MOST_FOR_ALL:
            raise tarfile.ReadError(
                f"{len(tar.pax_headers):,} attributes of all members, up to {_MOST_FOR_ALL} are read"
            )
        return member


def tar_set(pattern: str, index: Path | None = None) -> VideoSet:
    """The videos in all tars that match a glob, by name of tar and member. index: remembers what was read. Raises
    UserError where no tar matches.
    """
    paths = sorted(glob.glob(pattern), key=natural_key)
    if not paths:
        raise UserError(f"no .tar matches {pattern}")
    digests = Digests(index and index.with_suffix(".content"), say)
    videos: list[Video] = []
    skipped: list[Skip] = []
    for path in paths:
        try:
            found, out = _members(Path(path), digests)
            videos += found
            skipped += out
        except _BAD as error:
            skipped.append(Skip(path, f"not a readable tar: {one_line(error)}"))
    digests.save()
    return VideoSet(pattern, "tars", videos, tuple(skipped))


def _members(path: Path, digests: Digests) -> tuple[list[Video], list[Skip]]:
    # One that is compressed has no places to read from, and no limit.
    with tarfile.open(path, "r:", tarinfo=_Member) as tar:
        size_bytes = path.stat().st_size
        every = list(tar)
        files = [m for m in every if m.isfile() and not m.issparse() and 0 <= m.size <= size_bytes - m.offset_data]
        members = [m for m in files if Path(m.name).suffix.lower() in VIDEOS]
        sources = {m.name.removesuffix(".json"): _source(tar, m) for m in files if m.name.endswith(".json")}
    found = []
    for member in members:
        sha256 = digests.of(path, Span(member.offset_data, member.size)).sha256
        suffix = Path(member.name).suffix.lower()
        open_ = partial(member_frames, path, member.offset_data, member.size, suffix, sha256)
        name = f"{path.stem}/{Path(member.name).stem}"
        found.append(Video(name, sha256[:32], open_, group=sources.get(member.name[: -len(suffix)], "")))
    lost = [m.name for m in every if m not in files and Path(m.name).suffix.lower() in VIDEOS and not m.isdir()]
    reason = "a link, sparse, or not whole: only files that lie in the tar are read"
    return found, [Skip(f"{path.stem}/{Path(name).stem}", reason) for name in lost]


def _source(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    """The source video that the JSON beside a clip names, as `curate export` writes it; empty where it names none."""
    file = tar.extractfile(member) if member.size <= _MOST_JSON_BYTES else None
    try:
        facts = parse_json(file.read()) if file is not None else None
    except ValueError:
        return ""
    found = facts.get("video_id") if isinstance(facts, dict) else None
    return found if isinstance(found, str) else ""


def read_at(path: Path, offset: int, size: int) -> bytes:
    """`size` bytes of a file from `offset` on."""
    with open(path, "rb") as file:
        return os.pread(file.fileno(), size, offset)


@contextmanager
def member_frames(path: Path, offset: int, size: int, suffix: str, sha256: str) -> Iterator[FileFrames]:
    """A member of a tar opened as `Frames`. Raises DecodeError where it is no longer the one of this sha256."""
    data = read_at(path, offset, size)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise DecodeError(f"{path.name} was changed while it was measured: run the command again")
    with bytes_frames(data, suffix) as frames:
        yield frames
