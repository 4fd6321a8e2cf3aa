"""What the parts of the soak share: commands as processes that something happens to, and the rows of the table."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from _soak_compare import state

PACKAGES = ("curate", "models", "evaluate")
_POLL_S, _PATIENCE_S = 0.02, 10


@dataclass(frozen=True)
class Moment:
    """When something happens to a command. cpu_s: that it has used, its workers included; so the moment does not move
    with what else the machine does. shown: instead, as soon as its progress has come to this share.
    """

    cpu_s: float = 0.0
    shown: float | None = None

    def __str__(self):
        return f"after {self.cpu_s:.2f} CPU s" if self.shown is None else f"at {self.shown:.0%} of its progress"


@dataclass(frozen=True)
class Done:
    """How a command ended. code: None where it was killed. at_work: whether it had changed a file before what happened
    to it; None: nothing did. began_s: CPU seconds until its first file, where the moment came later.
    """

    code: int | None
    said: str
    errors: str
    seconds: float
    cpu_s: float
    at_work: bool | None = None
    began_s: float | None = None
    group: int = 0


@dataclass
class Row:
    """A line of the table. idle: of what happened, before the command had changed a file. again: finished units of work
    that were made again.
    """

    what: str
    wanted: int = 0
    done: int = 0
    held: int = 0
    idle: int = 0
    again: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    failures: list = field(default_factory=list)
    skipped: str = ""
    note: str = ""

    def add(self, done):
        """Count the time of one command."""
        self.seconds, self.cpu_s = self.seconds + done.seconds, self.cpu_s + done.cpu_s
        self.idle += done.at_work is False

    def judge(self, which, problem, count=1):
        """So many more have ended; problem: what did not hold of them, "" where all did."""
        self.done += count
        if problem:
            self.failures.append(f"{which}: {problem}")
            print(self.failures[-1], file=sys.stderr, flush=True)
        else:
            self.held += count


def command(package, *words):
    return [sys.executable, "-m", f"clipmill.{package}.cli", *map(str, words)]


def kill_group(process):
    """As the end of a session or a machine does."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def kill_alone(process):
    """As a person does, or a system that is out of memory: its workers are on their own."""
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)


def run(words, folder, moment=None, disturb: Callable = kill_group, limit_bytes=None):
    """Run a command to its end. moment: when `disturb`, which is given the process, happens. It finds an empty TMPDIR
    and a cache of its own, both beside the folder; both stay.
    """
    places = {"XDG_CACHE_HOME": folder.parent / "cache", "TMPDIR": folder.parent / "tmp"}
    (folder.parent / "tmp").mkdir(exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | {name: str(path) for name, path in places.items()}
    limit = None if limit_bytes is None else (lambda: _limit_file_size(limit_bytes))
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            words, cwd=folder, stdout=said, stderr=errors, env=environment, start_new_session=True, preexec_fn=limit
        )
        with _watched(process, folder, moment, disturb, errors) as seen:
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if disturb is not kill_alone:
            wait_for(process.pid)
        return Done(
            None if os.WIFSIGNALED(status) else process.returncode,
            _text(said),
            _text(errors),
            time.perf_counter() - began,
            usage.ru_utime + usage.ru_stime,
            seen.get("at_work"),
            seen.get("began_s"),
            process.pid,
        )


def one_line(done):
    """Why the end of a command is not what a user should see where its work cannot go on: "" where it is right."""
    lines = [line for line in done.errors.splitlines() if line.strip()]
    if "Traceback" in done.errors:
        return f"a traceback: {lines[-1]}"
    if done.code != 2:
        return f"exit code {done.code}, said {done.errors.strip()[-300:]!r}"
    mistakes = [line for line in lines if line.startswith(tuple(f"{name}: " for name in PACKAGES))]
    return "" if len(mistakes) == 1 else f"{len(mistakes)} lines: {done.errors.strip()[-300:]!r}"


def wait_for(group):
    """Until no process of the group is alive; whether that came to pass."""
    until = time.monotonic() + _PATIENCE_S
    while alive(group):
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_S)
    return True


def alive(group):
    return any(_is_of(path, group) for path in Path("/proc").glob("[0-9]*/stat"))


@contextmanager
def _watched(process, folder, moment, disturb, errors):
    """Do something to a process at that moment, unless the block has ended by then. Gives what was seen of it."""
    seen, ended = {}, threading.Event()
    if moment is None:
        yield seen
        return
    before = state(folder)

    def changed():
        if "began_s" not in seen and state(folder) != before:
            seen["began_s"] = _cpu_s(process.pid)
        return "began_s" in seen

    def wait():
        while not ended.wait(_POLL_S):
            at_work = changed()
            used, needed = (
                (_cpu_s(process.pid), moment.cpu_s) if moment.shown is None else (_shown(errors), moment.shown)
            )
            if used >= needed:
                seen["at_work"] = at_work
                disturb(process)
                return

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def _cpu_s(process):
    """CPU seconds of a process and of all below it, ended ones included."""
    total, todo = 0, [process]
    while todo:
        one = todo.pop()
        with suppress(OSError, ValueError):
            words = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, words[11:15]))
            for thread in Path(f"/proc/{one}/task").iterdir():
                todo += map(int, (thread / "children").read_text().split())
    return total / os.sysconf("SC_CLK_TCK")


def _shown(errors):
    """The share of its videos that a run's last line of progress tells."""
    lines = re.findall(r"curating: (\d+) of (\d+) ", os.pread(errors.fileno(), 1 << 20, 0).decode(errors="replace"))
    return int(lines[-1][0]) / max(int(lines[-1][1]), 1) if lines else 0.0


def _is_of(stat, group):
    try:
        condition, _, found = stat.read_text().rpartition(")")[2].split()[:3]
    except OSError:
        return False
    return int(found) == group and condition not in "ZX"


def _text(file):
    file.seek(0)
    return file.read().decode(errors="replace")


def _limit_file_size(size):
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
