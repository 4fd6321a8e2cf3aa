"""What a file's bytes are: their SHA-256. What was hashed once is read again only where the file may have changed."""

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import platformdirs

from clipmill.curate.common.files import write_text
from clipmill.curate.common.log import Tell, silent

_CHUNK_BYTES = 1 << 20
# A file that changed so short a time ago may change again within one tick of its clock, and look the same.
_SETTLED_NS = 2_000_000_000
_TITLE = "clipmill content 1"


class State(NamedTuple):
    """What a system tells of a file without reading it. Writing changes at least ctime_ns, which nobody can set."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int


class Span(NamedTuple):
    """Part of a file: the tar's member, say. size_bytes None: to its end."""

    offset: int = 0
    size_bytes: int | None = None


_Key = tuple[int, int, int, int]


@dataclass(frozen=True)
class Content:
    """sha256: hexadecimal, of bytes that were read. state: of the file, before and after it was read."""

    sha256: str
    state: State


class Changed(OSError):
    """A file does not hold, or no longer, the bytes that it is known by."""


def cache_home() -> Path:
    """The folder of what is remembered between commands: CLIPMILL_CACHE, or the user's cache folder."""
    return Path(os.environ.get("CLIPMILL_CACHE") or platformdirs.user_cache_dir("clipmill"))


def state_of(path: Path) -> State:
    """Of a file, links followed. Raises OSError."""
    return _state(os.stat(path))


class Digests:
    """Content of files. memory: a file that remembers it between commands; None: for as long as this object lives. A
    damaged memory is made again, and `tell` is told.
    """

    def __init__(self, memory: Path | None = None, tell: Tell = silent) -> None:
        self._memory = memory
        self._known: dict[_Key, Content] = {}
        if memory is not None and memory.exists():
            found = _read(memory)
            if found is None:
                tell(f"{memory} is damaged: it is made again, and files are read again")
            self._known = found or {}
        self._fresh = False

    def of(self, path: Path, span: Span = Span()) -> Content:  # noqa: B008 - a constant
        """Raises OSError where the file cannot be read, is cut short, or changes while it is read."""
        state = state_of(path)
        key = state.device, state.inode, *_numbers(span)
        known = self._known.get(key)
        if known is not None and known.state == state:
            return known
        began = time.time_ns()
        found = _hashed(path, span)
        if _settled(found.state, began):
            self._known[key], self._fresh = found, True
        return found

    def known(self, path: Path) -> Content | None:
        """What `of` would give for the whole file without reading it; None where it would have to, or fail."""
        with suppress(OSError):
            state = state_of(path)
            found = self._known.get((state.device, state.inode, *_numbers(Span())))
            return found if found is not None and found.state == state else None
        return None

    def save(self) -> None:
        """Into the memory, with what others wrote there. One that cannot be written costs time at the next command,
        nothing else.
        """
        if self._memory is None or not self._fresh:
            return
        with suppress(OSError):
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            _write(self._memory, (_read(self._memory) or {}) | self._known)
            self._fresh = False


@contextmanager
def unchanged(path: Path, sha256: str, state: State | None = None) -> Iterator[None]:
    """Around the reading of a file that is known by its hash. state: in which it had it; the file is hashed only where
    that is not its state, before or after. Raises Changed where it holds other bytes, also in place of an error that
    came of them; OSError where it is not there.
    """
    before = _state_with(path, sha256, state)
    try:
        yield
    finally:
        _state_with(path, sha256, before)


def _state_with(path: Path, sha256: str, state: State | None) -> State:
    if state_of(path) == state:
        return state
    found = Digests().of(path)
    if found.sha256 != sha256:
        raise Changed(0, "the file changed after it was hashed; the next `curate run` takes it as it is then")
    return found.state


def _numbers(span: Span) -> tuple[int, int]:
    return span.offset, -1 if span.size_bytes is None else span.size_bytes


def _state(facts: os.stat_result) -> State:
    return State(facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def _settled(state: State, at_ns: int) -> bool:
    """Whether a later change will show: the clock of the file has ticked since its last one."""
    return at_ns - state.ctime_ns > _SETTLED_NS and abs(at_ns - state.mtime_ns) > _SETTLED_NS


def _hashed(path: Path, span: Span) -> Content:
    if not path.is_file():
        raise OSError(0, "not a regular file")
    with path.open("rb") as file:
        before = _state(os.fstat(file.fileno()))
        file.seek(span.offset)
        left = before.size_bytes - span.offset if span.size_bytes is None else span.size_bytes
        digest = hashlib.sha256()
        while left > 0 and (chunk := file.read(min(left, _CHUNK_BYTES))):
            digest.update(chunk)
            left -= len(chunk)
        if before != _state(os.fstat(file.fileno())):
            raise Changed(0, "it changed while it was read")
    if left > 0:
        raise OSError(0, f"it ends {left} bytes too early")
    return Content(digest.hexdigest(), before)


def _read(memory: Path) -> dict[_Key, Content] | None:
    """What a memory holds; None where it is damaged or absent: its first line is the hash of all others."""
    try:
        head, _, body = memory.read_bytes().partition(b"\n")
        if head.decode() != f"{_TITLE} {hashlib.sha256(body).hexdigest()}":
            return None
        return dict(_entries(body.decode().splitlines()))
    except (OSError, ValueError):
        return None


def _entries(lines: Iterable[str]) -> Iterable[tuple[_Key, Content]]:
    for line in lines:
        *numbers, sha256 = line.split()
        device, inode, size, mtime, ctime, offset, length = map(int, numbers)
        yield (device, inode, offset, length), Content(sha256, State(device, inode, size, mtime, ctime))


def _write(memory: Path, known: dict[_Key, Content]) -> None:
    lines = [" ".join(map(str, (*known[key].state, *key[2:], known[key].sha256))) for key in sorted(known)]
    body = "\n".join(lines) + "\n"
    write_text(memory, f"{_TITLE} {hashlib.sha256(body.encode()).hexdigest()}\n{body}")
