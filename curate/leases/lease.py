"""A lease is a file that says who is at work on something, and whose time stamp is renewed as long as that one lives.

A lock of the system (`common.lock`) ends with its process, but many file systems that machines share keep it to one
machine. On the machine of its holder a lease is judged by the lock on its file: at once and surely. Elsewhere it is
judged by its age, on the clock of the file system, so that clocks of machines may differ.
"""

import fcntl
import json
import os
import platform
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from clipmill.curate.common.files import parse_json
from clipmill.curate.common.lock import in_turn
from clipmill.curate.common.log import Tell, silent
from clipmill.curate.errors import UserError

HEARTBEAT_S = 15.0
STALE_S = 150.0
_FOLDER = ".leases"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Holder:
    """A process somewhere. boot: of the system that it runs on, "" where that tells none."""

    host: str
    process: int
    boot: str = ""

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


@dataclass(frozen=True)
class Found:
    """A lease that is there. silent_s: since its last sign. alive: whether its holder may still be at work."""

    name: str
    holder: Holder
    silent_s: float
    alive: bool


class Lease:
    """One that this process holds, until `release`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path, self._descriptor = path, descriptor
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    @property
    def is_lost(self) -> bool:
        """Whether another one holds it now, who took this process for dead."""
        try:
            return not os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        except FileNotFoundError:
            return True
        except OSError:  # the disk is away: nobody knows
            return False

    def check(self) -> None:
        """Raises UserError where it is lost."""
        if self.is_lost:
            raise UserError(f"{_words(self._path.name)}: taken over by another process, which took this one for dead")

    def release(self) -> None:
        """It is gone, unless it is another's by now."""
        self._ended.set()
        self._thread.join()
        if not self.is_lost:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_S):
            with suppress(OSError):
                os.utime(self._descriptor)


@contextmanager
def held(root: Path, name: str, tell: Tell = silent) -> Iterator[Lease]:
    """The lease called `name` of a folder. tell: hears of one that was taken over, because its holder is dead.

    Raises UserError where another process holds it and is alive.
    """
    folder = root / _FOLDER
    folder.mkdir(exist_ok=True)
    path = folder / name
    with in_turn(folder / f"turn-{name}"):
        before = _found(path)
        if before is not None and before.alive:
            raise UserError(
                f"{_words(name)} of {root} is held by {before.holder}, which gave a sign {before.silent_s:.0f} s ago:"
                " wait until it has ended, then run this one again"
            )
        lease = Lease(path, _write(path))
    if before is not None:
        tell(f"{_words(name)}: {before.holder} is dead or lost ({before.silent_s:.0f} s without a sign): taken over")
    try:
        yield lease
    finally:
        lease.release()


def leases(root: Path) -> list[Found]:
    """Every lease of the folder, dead ones included, by name."""
    folder = root / _FOLDER
    names = sorted(os.listdir(folder)) if folder.is_dir() else []
    found = (_found(folder / name) for name in names if not name.startswith("."))
    return [lease for lease in found if lease is not None]


def this_process() -> Holder:
    """The process that asks."""
    boot = ""
    with suppress(OSError):
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
    return Holder(platform.node() or "localhost", os.getpid(), boot)


def _write(path: Path) -> int:
    """A new file in the place of what was there, locked, open. Its name until then is the next one's as well, who comes
    when this process is killed here: none stays for ever.
    """
    temporary = path.with_name(f".new-{path.name}-{this_process().host}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    os.write(descriptor, json.dumps(asdict(this_process())).encode())
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.replace(temporary, path)
    return descriptor


def _found(path: Path) -> Found | None:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        holder = _holder(os.read(descriptor, 1 << 16))
        silent_s = max(0.0, _now_s(path.parent) - os.fstat(descriptor).st_mtime)
        return Found(path.name, holder, silent_s, _is_alive(descriptor, holder, silent_s))
    finally:
        os.close(descriptor)


def _holder(content: bytes) -> Holder:
    with suppress(ValueError, TypeError, AttributeError):
        facts = parse_json(content)
        return Holder(str(facts["host"]), int(facts["process"]), str(facts["boot"]))
    return Holder("an unknown machine", 0)


def _is_alive(descriptor: int, holder: Holder, silent_s: float) -> bool:
    if holder.boot and holder.boot == this_process().boot:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: others may ask the same now
            return False
        except BlockingIOError:
            return True
        except OSError:
            pass  # no such locks here
    return silent_s < STALE_S


def _now_s(folder: Path) -> float:
    """On the clock of the file system, where it can be asked."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
            file.flush()
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()


def _words(name: str) -> str:
    """`3-of-8` -> `part 3/8`."""
    index, between, of = name.partition("-of-")
    return f"part {index}/{of}" if between else f"the {name}"
