"""Several files of a run change as one: the manifest is the switch, the others follow it.

    RUN/manifest.parquet          replaced in one step: from then on the new set holds
    RUN/.next-<sha256>/           the other files of that manifest, whole, until each lies in its place

`publish` writes the folder first, named by the bytes of the manifest that it belongs to. A command that is killed
before the switch leaves the old set as it was; one that is killed after it leaves files that `settle` puts where they
belong. Whoever opens a run settles it first.

A manifest of very many rows is a folder, whose list of files is the switch; its decisions are those of the policy that
decides, and are no part of its rows:

    RUN/manifest/files.json       the names of the files in their order, and which decisions belong to them
    RUN/manifest/rows/*.parquet   so many rows each, named by their bytes
"""

import hashlib
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa

from clipmill.curate.common.files import beside, is_bare, is_below, read_json, write_atomic, write_json
from clipmill.curate.errors import UserError

POINTER = "manifest.parquet"
FOLDER = "manifest"
_LIST, _ROWS = f"{FOLDER}/files.json", f"{FOLDER}/rows"
_MOST_ROWS = 250_000
_NEXT = ".next-"


@dataclass(frozen=True)
class ManifestFiles:
    """Where the manifest lies: its files in order, and what holds, row by row, the columns of its decisions; None where
    the files hold them. switch: the file whose bytes say which manifest it is.
    """

    switch: Path
    files: tuple[Path, ...]
    decided: Path | None = None


def manifest_files(root: Path) -> ManifestFiles:
    """Of a run that is settled. The files need not be there. Raises UserError where the list of them is damaged."""
    listed = root / _LIST
    if not listed.exists():
        return ManifestFiles(root / POINTER, (root / POINTER,))
    facts = read_json(listed)
    names, decided = facts.get("rows"), facts.get("decided")
    if not isinstance(names, list) or not all(map(is_bare, names)) or not (decided is None or is_below(decided)):
        raise UserError(f"{listed} is no list of a manifest's files; delete it and run `curate run` again")
    rows = tuple(root / _ROWS / name for name in names)
    return ManifestFiles(listed, rows, None if decided is None else newest(root, decided))


def publish(root: Path, manifest: pa.Table, files: Mapping[str, Any], decided: str | None = None) -> None:
    """Replace the manifest and these files (path below root -> a table for Parquet, or values for JSON) at once.

    decided: which of the files holds the columns of the manifest that `manifest` lacks, row by row; None where it lacks
    none. One process at a time may do that (see `common.lock.alone`). Raises OSError where the disk is full; nothing
    has changed then.
    """
    settle(root)
    _forget_unfinished(root)
    root.mkdir(parents=True, exist_ok=True)
    if len(manifest) > _MOST_ROWS:
        starts = range(0, len(manifest), _MOST_ROWS)
        names = [_write_rows(root, k, manifest.slice(start, _MOST_ROWS)) for k, start in enumerate(starts)]
        _publish_list(root, {"rows": names, "decided": decided}, files)
    else:
        whole = manifest if decided is None else _with_columns(manifest, files[decided])
        with beside(root / POINTER, synced=True) as pointer:
            write_atomic(pointer, whole)
            os.replace(_waiting(root, files), root / f"{_NEXT}{_sha256(pointer)}")
        (root / _LIST).unlink(missing_ok=True)  # where the manifest was a folder, this is the switch
    settle(root)
    _remove_former(root)


def publish_decisions(root: Path, decided: str, files: Mapping[str, Any]) -> bool:
    """`publish` where the rows stay and only their decisions change: the file `decided` among the files. False, and
    nothing done, where the rows hold decisions themselves.
    """
    settle(root)
    there = manifest_files(root)
    if there.decided is None:
        return False
    _forget_unfinished(root)
    _publish_list(root, {"rows": [path.name for path in there.files], "decided": decided}, files)
    settle(root)
    return True


def _publish_list(root: Path, facts: Mapping[str, Any], files: Mapping[str, Any]) -> None:
    (root / FOLDER).mkdir(exist_ok=True)
    waiting = _waiting(root, files)
    decided = facts["decided"]
    # Other decisions are another manifest: what they hold is part of the switch.
    of = None if decided is None else _sha256(waiting / quote(decided, safe=""))
    with beside(root / _LIST, synced=True) as listed:
        write_json(listed, {**facts, "decided_sha256": of}, synced=True)
        os.replace(waiting, root / f"{_NEXT}{_sha256(listed)}")


def _write_rows(root: Path, number: int, rows: pa.Table) -> str:
    """The name of the file of these rows, which is there then."""
    folder = root / _ROWS
    folder.mkdir(parents=True, exist_ok=True)
    unnamed = folder / "unnamed.parquet"
    write_atomic(unnamed, rows, synced=True)
    name = f"{number:05d}-{_sha256(unnamed)[:12]}.parquet"
    os.replace(unnamed, folder / name)
    return name


def _with_columns(manifest: pa.Table, more: pa.Table) -> pa.Table:
    for name in (n for n in more.column_names if n not in manifest.column_names):
        manifest = manifest.append_column(more.schema.field(name), more[name])
    return manifest


def _waiting(root: Path, files: Mapping[str, Any]) -> Path:
    """A folder of these files, whole, which no manifest owns yet."""
    place = root / f"{_NEXT}unowned"
    with beside(place, synced=True) as folder:
        folder.mkdir()
        for name, content in files.items():
            _write(folder / quote(name, safe=""), content)
    return place


def _remove_former(root: Path) -> None:
    """Files of manifests before this one."""
    there = manifest_files(root)
    if there.switch == root / POINTER:
        shutil.rmtree(root / FOLDER, ignore_errors=True)
        return
    (root / POINTER).unlink(missing_ok=True)
    for path in (root / _ROWS).iterdir():
        if path not in there.files:
            path.unlink(missing_ok=True)


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
        switch = root / _LIST
        wanted = f"{_NEXT}{_sha256(switch if switch.exists() else root / POINTER)}"
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
