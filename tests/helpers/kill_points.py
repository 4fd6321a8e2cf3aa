"""A command that dies in the middle, at every place where it changes a name or begins a file."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

_CHANGES = frozenset({"os.rename", "os.remove", "os.rmdir", "os.mkdir"})
_KILLED = 99


def killed_at(number: int, root: Path, work: Callable[[], object]) -> bool:
    """Do the work in a process that ends, with nothing cleaned up, just before its change `number` (from 0) below
    `root`. False where it made fewer.
    """
    child = os.fork()
    if not child:
        try:
            sys.addaudithook(_Killer(number, str(root)))
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, _KILLED), code
    return code == _KILLED


def kills(root: Path, fresh: Callable[[], object], work: Callable[[], object]) -> Iterator[int]:
    """Each number in turn, after the work was killed there; fresh: puts the folder as it is before the work."""
    number = 0
    while True:
        fresh()
        if not killed_at(number, root, work):
            return
        yield number
        number += 1


class _Killer:
    """An audit hook: it hears of every call of `os` that changes names, and of files that are opened to be written."""

    def __init__(self, number: int, root: str) -> None:
        self._left, self._root = number, root

    def __call__(self, event: str, arguments: tuple) -> None:
        """Ends the process in the place of the wanted change."""
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (event in _CHANGES or writes) and str(arguments[0]).startswith(self._root):
            if not self._left:
                os._exit(_KILLED)
            self._left -= 1
