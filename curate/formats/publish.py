"""A folder that appears whole or not at all, and says what it was made from, so that a second call can tell whether it
is up to date.
"""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from clipmill.curate.common.files import parse_json, write_json
from clipmill.curate.errors import UserError, full_disk, is_full_disk, one_line

STATE = ".clipmill-export.json"
# Lists, cards and the slack of a file system's blocks, per clip.
_SLACK_BYTES = 8192


@dataclass(frozen=True)
class Written:
    """What a format left in `folder`. clips: with files. without_caption: clips that were left out because they have
    none.
    reused: it was up to date.
    """

    folder: Path
    clips: int
    without_caption: int = 0
    reused: bool = False

    @property
    def text(self) -> str:
        """One line for people."""
        left_out = f"; {self.without_caption} clips without a caption left out" if self.without_caption else ""
        return f"{self.clips} clips in {self.folder}{' (up to date)' if self.reused else ''}{left_out}"


def publish(out: Path, state: str, size_bytes: int, clips: int, fill: Callable[[Path], None]) -> bool:
    """True where `out` was made from this state before. Else `fill` makes a hidden folder beside it, which then gets
    its name.

    An interrupted call leaves the hidden folder for the next one of the same state; what else such calls left is
    removed.
    state: 12 hex digits. size_bytes, clips: what the videos will take. Raises UserError where `out` was not made by
    this command, the disk is too small or `out` cannot be written.
    """
    out = out.resolve()
    partial = out.with_name(f".{out.name}.{state}.partial")
    try:
        reused = _is_current(out, state)
        _remove_leftovers(out, None if reused else partial)
        if not reused:
            partial.mkdir(parents=True, exist_ok=True)
            _check_space(partial, size_bytes + clips * _SLACK_BYTES)
            fill(partial)
            write_json(partial / STATE, {"state": state})
            _exchange(out, partial)
    except OSError as error:
        if is_full_disk(error):
            raise full_disk(out) from error
        raise UserError(f"cannot write {out}: {one_line(error)}") from error
    return reused


def _is_current(out: Path, state: str) -> bool:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        return bool(parse_json((out / STATE).read_text(encoding="utf-8"))["state"] == state)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{out} exists and is no export of this command: choose another --out") from error


def _remove_leftovers(out: Path, partial: Path | None) -> None:
    """Hidden folders of interrupted calls for `out`, but for the one to go on with."""
    ours = re.compile(rf"\.{re.escape(out.name)}\.([0-9a-f]{{12}}|old)\.partial")
    for path in out.parent.iterdir() if out.parent.is_dir() else ():
        if ours.fullmatch(path.name) and path != partial:
            shutil.rmtree(path, ignore_errors=True)


def _check_space(partial: Path, size_bytes: int) -> None:
    needed = size_bytes - sum(path.stat().st_size for path in partial.rglob("*") if path.is_file())
    free = shutil.disk_usage(partial).free
    if needed > free:
        raise UserError(
            f"{partial.parent} has {free / 1e9:.2f} GB free and the clips need {needed / 1e9:.2f} GB: choose another"
            " --out"
        )


def _exchange(out: Path, partial: Path) -> None:
    """A folder cannot be renamed over one that has files: the old one steps aside first."""
    old = out.with_name(f".{out.name}.old.partial")
    if out.exists():
        out.rename(old)
    partial.rename(out)
    shutil.rmtree(old, ignore_errors=True)
