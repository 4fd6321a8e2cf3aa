"""Where weight files come from: a path the user names, else the cache folder. Nothing is ever downloaded."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import platformdirs

from curate.errors import UserError

FOLDER_VARIABLE = "CLIPMILL_WEIGHTS"
_CHUNK_BYTES = 1 << 20


def folder() -> Path:
    """The cache folder of weight files: `CLIPMILL_WEIGHTS`, else `weights` in the user's cache folder. It need not exist."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named).expanduser() if named else Path(platformdirs.user_cache_dir("clipmill")) / "weights"


def find(given: Path | None, names: Sequence[str], what: str) -> Path:
    """The file (or folder) `given`, else the first of `names` that lies in the cache folder.

    what: whose weights they are. Raises UserError, in one line that says what to put where.
    """
    if given is not None:
        return _existing(given.expanduser(), what)
    for name in names:
        if (folder() / name).exists():
            return folder() / name
    raise UserError(
        f"no weights for {what}: put {_either(names)} into {folder()} (or set {FOLDER_VARIABLE}), or name a file with --weights"
    )


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    return _digest(path, hashlib.sha256())


def git_blob_sha1(path: Path) -> str:
    """Hexadecimal name that git gives a file's content, by which published repositories list files that they hold."""
    return _digest(path, hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False))


def check_sha256(path: Path, expected: str, what: str) -> None:
    """Raises UserError where a file is not the published one."""
    found = sha256(path)
    if found != expected:
        raise UserError(f"{path} is not {what}: its sha256 is {found[:16]}…, the published file has {expected[:16]}…")


def _existing(path: Path, what: str) -> Path:
    # The prefix of a TensorFlow checkpoint names several files and is none itself.
    if path.exists() or path.with_name(f"{path.name}.index").exists():
        return path
    raise UserError(f"no weights for {what} at {path}: there is no such file")


def _either(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _digest(path: Path, digest: "hashlib._Hash") -> str:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    return digest.hexdigest()
