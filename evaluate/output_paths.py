"""Whether a result can be written: asked before the work, not found out after it."""

import tempfile
from pathlib import Path

from clipmill.curate.errors import UserError, one_line


def check_file(path: Path, example: str) -> None:
    """Raises UserError where `--out PATH` is a folder, or nothing can be written where it shall lie. example: of a
    file's name.
    """
    if path.is_dir():
        raise UserError(f"--out is a file to write, and {path} is a folder: --out {path / example}")
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Raises UserError where nothing can be written into a folder, or it cannot be made. Nothing is left behind, no
    folder either.
    """
    there = next(at for at in (folder, *folder.absolute().parents) if at.exists())
    try:
        # The rights alone do not say it: root has all of them, on a read-only file system too.
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UserError(f"--out: cannot write to {there} ({one_line(error)}); choose another place") from error
