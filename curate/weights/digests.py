"""Checksums of weights; those of large files are remembered, so that a second run does not read gigabytes again."""

import hashlib
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from clipmill.curate.common.content import Digests
from clipmill.curate.errors import UserError, one_line
from clipmill.curate.weights.locations import cache_folder

MEMORY_FILE = ".content"
LARGE_BYTES = 1 << 22
_CHUNK_BYTES = 1 << 20


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file. Raises UserError where it cannot be read."""
    return digest(path, hashlib.sha256())


def digest(path: Path, hasher: "hashlib._Hash") -> str:
    """Hexadecimal digest of a file, by a hasher that may have seen a prefix. Raises UserError where the file cannot be
    read.
    """
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                hasher.update(chunk)
    except OSError as error:
        raise UserError(f"{path}: {one_line(error)}") from None
    return hasher.hexdigest()


def git_blob_sha1(path: Path) -> str:
    """Hexadecimal name that git gives a file's content, by which published repositories list files that they hold."""
    return digest(path, hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False))


def remembered_sha256(path: Path) -> str:
    """As `sha256`, from memory where a large file is as it was when it was read (`clipmill.curate.common.content`)."""
    try:
        if path.stat().st_size < LARGE_BYTES:
            return sha256(path)
        digests = Digests(cache_folder() / MEMORY_FILE)
        found = digests.of(path)
        digests.save()
    except OSError as error:
        raise UserError(f"{path}: {one_line(error)}") from None
    return found.sha256


def path_sha256(path: Path, patterns: Sequence[str] = ("*",)) -> str:
    """Of a file, or of a folder: SHA-256 over the sorted lines `DIGEST  RELATIVE/PATH` of its files that match
    `patterns` by name.

    Hidden files and folders do not count: tools keep their own notes there. Raises UserError for a folder without such
    files.
    """
    if path.is_file():
        return remembered_sha256(path)
    lines = [f"{remembered_sha256(file)}  {file.relative_to(path).as_posix()}\n" for file in _files(path, patterns)]
    if not lines:
        raise UserError(f"{path} holds no weights ({', '.join(patterns)})")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    files = [
        f
        for f in folder.rglob("*")
        if f.is_file() and not any(part.startswith(".") for part in f.relative_to(folder).parts)
    ]
    return sorted(
        (f for f in files if any(fnmatch(f.name, p) for p in patterns)), key=lambda f: f.relative_to(folder).as_posix()
    )
