"""One command at a time changes a folder, or a file."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clipmill.curate.errors import UserError

_MOST_CHARACTERS = 120


@contextmanager
def alone(root: Path, shared: bool = False) -> Iterator[None]:
    """While it lasts no other command can be `alone` with the folder; the end of the process, however it comes, ends
    it, too. shared: with others that share it, but with none that does not.

    Raises UserError where another is, and names its process where the system tells. On file systems that know no such
    lock nothing is checked.
    """
    folder = os.open(root, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another command is at work on {root}{_who(folder)}: wait until it has ended, then run this one again"
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(folder)


@contextmanager
def alone_in_new(root: Path) -> Iterator[None]:
    """`alone` with a folder that need not be there: it is made, and gone again where nothing came into it. What is no
    folder is left to whoever is to write there.
    """
    if root.exists() and not root.is_dir():
        yield
        return
    made = [path for path in (root, *root.parents) if not path.exists()]
    root.mkdir(parents=True, exist_ok=True)
    try:
        with alone(root):
            yield
    finally:
        with suppress(OSError):  # not empty, or gone
            for path in made:
                path.rmdir()


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


def _who(descriptor: int) -> str:
    """`, process 4711 (models train ...)`: who holds the lock, as Linux tells; "" where nobody says."""
    inode = str(os.fstat(descriptor).st_ino)
    with suppress(OSError, ValueError):
        for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines():
            # 1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF
            words = line.split()
            if words[1:2] == ["FLOCK"] and words[5].rpartition(":")[2] == inode and int(words[4]) > 0:
                return f", process {words[4]}{_command_of(words[4])}"
    return ""


def _command_of(process: str) -> str:
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    text = " ".join(Path(word).name if i < 2 else word for i, word in enumerate(words)).strip()  # python, script
    shown = "".join(character if character.isprintable() else "?" for character in text)
    return f" ({shown[:_MOST_CHARACTERS]})" if shown else ""
