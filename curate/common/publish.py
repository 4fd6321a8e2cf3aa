"""Several files of a run change as one: the manifest is the switch, the others follow it.

    RUN/manifest.parquet          replaced in one step: from then on the new set holds
    RUN/.next-<sha256>/           the other files of that manifest, whole, until each lies in its place

`publish` writes the folder first, named by the bytes of the manifest that it belongs to. A command that is killed
before the switch leaves the old set as it was; one that is killed after it leaves files that `settle` puts where they
belong. Whoever opens a run settles it first.
"""

import hashlib
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa

from clipmill.curate.common.files import beside, is_below, write_atomic, write_json

POINTER = "manifest.parquet"
_NEXT = ".next-"


def publish(root: Path, manifest: pa.Table, files: Mapping[str, Any]) -> None:
    """Replace the manifest and these files (path below root -> a table for Parquet, or values for JSON) at once.

    One process at a time may do that (see `common.lock.alone`). Raises OSError where the disk is full; nothing has
    changed then.
    """
    settle(root)
    _forget_unfinished(root)
    root.mkdir(parents=True, exist_ok=True)
    with beside(root / POINTER, synced=True) as pointer:
        write_atomic(pointer, manifest)
        with beside(root / f"{_NEXT}{_sha256(pointer)}", synced=True) as folder:
            folder.mkdir()
            for name, content in files.items():
                _write(folder / quote(name, safe=""), content)
    settle(root)


def settle(root: Path) -> None:
    """Put the files of the present manifest where they belong, where a command was stopped before it had. Nothing
    happens in a folder that is settled, and in one that cannot be written (see `newest`).
    """
    folder = _next(root)
    if folder is None:
        return
    with suppress(OSError):  # read-only, or another process was faster
        for path in sorted(folder.iterdir()):
            name = unquote(path.name)
            if not is_below(name):  # a run that somebody made up moves nothing out of itself
                continue
            target = root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                os.replace(path, target)
        folder.rmdir()


def newest(root: Path, name: str) -> Path:
    """Where to read the file of the present manifest, after `settle`: in its place, or where it waits for it."""
    settle(root)
    folder = _next(root)
    waiting = None if folder is None else folder / quote(name, safe="")
    return waiting if waiting is not None and waiting.exists() else root / name


def _write(path: Path, content: pa.Table | Mapping[str, Any]) -> None:
    if isinstance(content, pa.Table):
        write_atomic(path, content, synced=True)
    else:
        write_json(path, content, synced=True)


def _next(root: Path) -> Path | None:
    """The folder of files that wait and belong to the present manifest; None where nothing waits."""
    waiting = [path for path in _folders(root) if not path.name.endswith(".tmp")]
    if not waiting:
        return None  # nearly always, and then the manifest need not be read
    with suppress(OSError):
        wanted = f"{_NEXT}{_sha256(root / POINTER)}"
        return next((path for path in waiting if path.name == wanted), None)
    return None


def _forget_unfinished(root: Path) -> None:
    """What a command left that was killed before its switch."""
    for path in _folders(root):
        shutil.rmtree(path, ignore_errors=True)


def _folders(root: Path) -> list[Path]:
    try:
        return [root / name for name in os.listdir(root) if name.startswith(_NEXT)]
    except OSError:
        return []


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
