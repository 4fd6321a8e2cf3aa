"""Videos that are named one by one: a glob, a list in a file, a list of paths."""

import glob
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from clipmill.curate.errors import UserError, one_line
from clipmill.curate.inputs.files import Source, find_sources, printable
from clipmill.evaluate.sets import Skip, Video, VideoSet, natural_key
from clipmill.evaluate.sets.folders import frame_folders, videos_set


def glob_set(pattern: str, index: Path | None) -> VideoSet:
    """The files and folders that match, `**` for any depth. Raises UserError where nothing does."""
    found = sorted(glob.glob(pattern, recursive=True), key=natural_key)
    if not found:
        raise UserError(f"nothing matches {pattern}")
    return paths_set([Path(p) for p in found], pattern, index)


def list_set(path: Path, index: Path | None) -> VideoSet:
    """The paths of a text file, one a line, from its own folder or the current one. Empty lines and those that begin
    with # do not count.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no list of paths: {one_line(error)}") from error
    names = [line for line in lines if line and not line.startswith("#")]
    if not names:
        raise UserError(f"{path} names no video: one path a line")
    beside = [path.parent / name for name in names]
    return paths_set([b if b.exists() else Path(n) for b, n in zip(beside, names, strict=True)], str(path), index)


def paths_set(paths: Sequence[Path], name: str, index: Path | None = None) -> VideoSet:
    """Video files, and folders of frames. Each is called by its path below the folder that all are in."""
    there = list(dict.fromkeys(Path(os.path.abspath(p)) for p in paths if p.exists()))
    skipped = [Skip(printable(str(p)), "there is no such file or folder") for p in paths if not p.exists()]
    root = Path(os.path.commonpath([p.parent for p in there])) if there else Path()
    videos: list[Video] = []
    sources: list[Source] = []
    for path in there:
        frames = [video for video, _ in frame_folders(path)] if path.is_dir() else []
        below = printable(path.relative_to(root).as_posix())
        videos += [replace(v, video_id=below if v.video_id == "." else f"{below}/{v.video_id}") for v in frames]
        sources += [] if frames else [_below(source, root) for source in find_sources([path])[0]]
    opened = videos_set(sources, name, index, [root]) if sources else VideoSet(name, "frame folders", [])
    every = sorted([*videos, *opened.videos], key=lambda v: natural_key(v.video_id))
    return replace(opened, videos=every, skipped=(*skipped, *opened.skipped))


def _below(source: Source, root: Path) -> Source:
    return replace(source, relpath=printable(source.path.relative_to(root).as_posix()))
