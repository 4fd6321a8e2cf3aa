"""One command at a time changes a run."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
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
