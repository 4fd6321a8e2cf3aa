"""Where weight files come from: a path the user names, else the cache folder. Nothing is ever downloaded."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from clipmill.curate.errors import UserError
from clipmill.curate.weights import FOLDER_VARIABLE, digest, sha256
from clipmill.curate.weights import cache_folder as folder

__all__ = ["FOLDER_VARIABLE", "check_sha256", "find", "folder", "git_blob_sha1", "sha256"]


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
        f"no weights for {what}: put {_either(names)} into {folder()} (or set {FOLDER_VARIABLE}), or name a file with"
        " --weights"
    )


def git_blob_sha1(path: Path) -> str:
    """Hexadecimal name that git gives a file's content, by which published repositories list files that they hold."""
    return digest(path, hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False))


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
