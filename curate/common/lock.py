"""One command at a time changes a run."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clipmill.curate.errors import UserError


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """While it lasts no other command can be `alone` with the folder; the end of the process, however it comes, ends
    it, too.

    Raises UserError where another is. On file systems that know no such lock nothing is checked.
    """
    folder = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another curate command is at work on {root}: wait until it has ended, then run this one again"
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(folder)


@contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """While it lasts no other command is in turn with the file, which need not be there: waits for its turn. On file
    systems that know no such lock nothing is checked.

    The lock is a hidden file beside it, because the file itself may be replaced; it goes afterwards.
    """
    lock = path.with_name(f".{path.name}.lock")
    descriptor = _waited_for(lock)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _waited_for(lock: Path) -> int:
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            # Whoever had it before took it away: then another one is the lock.
            if os.path.samestat(os.fstat(descriptor), os.stat(lock)):
                return descriptor
        os.close(descriptor)
