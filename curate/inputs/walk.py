"""The files below a folder, and the folders that nobody can look into."""

import os
from collections.abc import Iterator
from pathlib import Path

from clipmill.curate.errors import one_line


def walk(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """Files below a folder in the order of their names, with None; and each folder that cannot be listed, with the
    reason. Links are followed, each real folder once (so a loop of links ends); hidden names are left out.
    """
    seen: set[tuple[int, int]] = set()
    open_folders = [_entries(folder, seen)]
    while open_folders:  # no recursion: folders may be nested deeper than calls may
        path, is_folder, problem = next(open_folders[-1], (None, False, None))
        if path is None:
            open_folders.pop()
        elif is_folder and problem is None:
            open_folders.append(_entries(path, seen))
        else:
            yield path, problem


def _entries(folder: Path, seen: set[tuple[int, int]]) -> Iterator[tuple[Path, bool, str | None]]:
    """Path, whether it is a folder, and why that cannot be listed, of what lies in the folder."""
    found: list[os.DirEntry[str]] = []
    problem = None
    try:
        facts = folder.stat()
        if (facts.st_dev, facts.st_ino) in seen:
            return
        seen.add((facts.st_dev, facts.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:  # one at a time: a disk that goes away here leaves what was told until then
                found.append(entry)
    except OSError as error:
        problem = f"this folder cannot be listed: {one_line(error)}"
    for entry in sorted(found, key=lambda e: e.name):
        if not entry.name.startswith("."):
            yield Path(entry.path), _is_folder(entry), None
    if problem is not None:
        yield folder, True, problem


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or into a folder without rights: a row says so
        return False
