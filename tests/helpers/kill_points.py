"""What stands on the disk when a command dies in the middle, at every place where it changes a name or begins a file.

A process that is killed leaves the files as they are at that moment. So the command runs once, and just before each of
its changes the folder is copied. Its process is a new one: the hook cannot be taken off again.
"""

import multiprocessing
import os
import shutil
import sys
from pathlib import Path

from helpers.commands import invoke

_CHANGES = frozenset({"os.rename", "os.remove", "os.rmdir", "os.mkdir"})


def states(folder: Path, into: Path, words: tuple, below: Path | None = None) -> list[Path]:
    """Copies of the folder, one for each place where `curate WORDS` could be killed.

    Args:
        folder: a run.
        into: where the copies go; not within the folder.
        words: of the command, which has to succeed.
        below: only changes of names that begin so count; None: all within the folder.
    """
    into.mkdir(parents=True)
    child = multiprocessing.get_context("spawn").Process(
        target=_watch, args=(folder, into, words, str(below or folder))
    )
    child.start()
    child.join()
    assert child.exitcode == 0, child.exitcode
    return sorted(into.iterdir())


def _watch(folder: Path, into: Path, words: tuple, below: str) -> None:
    n_states = 0

    def before(event: str, arguments: tuple) -> None:
        nonlocal n_states
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (event in _CHANGES or writes) and str(arguments[0]).startswith(below):
            shutil.copytree(folder, into / f"{n_states:03d}", symlinks=True)
            n_states += 1

    sys.addaudithook(before)
    done = invoke("curate", *words)
    assert done.returncode == 0, done.stderr
