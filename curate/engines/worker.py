"""A worker process: it is given a task, answers, and is given the next, over a pipe of its own."""

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, Generic

from clipmill.curate.engines import Outcome, Task
from clipmill.curate.engines.attempt import USER_ERROR, attempt
from clipmill.curate.engines.signs import heard
from clipmill.curate.errors import UserError

# Importing the libraries of the annotators takes seconds, on a loaded machine a minute; more is a hang.
_START_S = 600.0
_END_S = 5.0
_READY = b"ready"
_SIGN = b"sign"
_PYTHON_ERROR = 1  # how Python ends on an exception; before the worker is ready, every other one would end so, too
_NO_START = (
    "worker processes cannot start (their error is above); a script has to call this below "
    'if __name__ == "__main__": since each worker reads the script again, or with engine="inline"'
)


class Worker(Generic[Task]):
    """Always spawned. It has one task at a time and shares nothing with its neighbours, so whatever way its process
    ends, it is known what it was doing and no one else is held up. (Workers that take their tasks from one queue leave
    that open: a process may die with a task that it has taken and not yet told.)

    alive: not killed, dead or retired. busy: it has a task. n_tasks: given so far. deadline_s: of its task, on
    `time.monotonic`'s clock, put off with every sign that it gets on.
    """

    def __init__(self, function: Callable[[Task], Any], prepare: Callable[[], None]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, function, prepare), daemon=True)
        # Ctrl-C is the parent's to handle: a child would print a traceback if it came before the child can say so.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()  # While this process held that end, too, the other's death would not end the pipe.
        self.alive, self.busy, self.n_tasks, self.tries = True, False, 0, 0
        self._ready, self._limit_s, self.deadline_s = False, 0.0, 0.0
        self._born_s = time.monotonic()
        self._task: Task

    @property
    def age_s(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._born_s

    def give(self, task: Task, limit_s: float, tries: int) -> None:
        """The time begins when the worker is ready. tries: of this task, before."""
        self.busy, self.n_tasks, self.tries = True, self.n_tasks + 1, tries
        self._task, self._limit_s, self.deadline_s = task, limit_s, time.monotonic() + _START_S
        if self._ready:
            self._begin()

    def _begin(self) -> None:
        self.deadline_s = time.monotonic() + self._limit_s
        # A worker that died since its last task is found by its closed pipe.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._pipe.send(self._task)

    @property
    def signals(self) -> tuple[Connection, int]:
        """What `multiprocessing.connection.wait` can wait for: one is ready when there is something to read or the
        process ended.
        """
        return self._pipe, self._process.sentinel

    def outcome(self) -> Outcome[Task] | None:
        """What became of the task, None while it is worked on. Kills the process at the deadline. Raises a UserError of
        the worker.
        """
        was_alive = self._process.is_alive()  # before the pipe is read: what came before the end counts
        if self._pipe.poll():
            return self._read()
        if not was_alive:
            return self._died()
        if time.monotonic() < self.deadline_s:
            return None
        self.kill()
        limit = (
            f"after {self._limit_s:g} s in which it did not get on"
            if self._ready
            else f"at its start, which took more than {_START_S:g} s"
        )
        return self._ended("timeout", message=f"killed {limit}")

    def _read(self) -> Outcome[Task] | None:
        try:
            answer = self._pipe.recv_bytes()
        except (EOFError, OSError):
            return self._died()
        if answer == _READY and not self._ready:
            self._ready = True
            self._begin()
            return None
        if answer == _SIGN:
            self.deadline_s = time.monotonic() + self._limit_s
            return None
        try:
            status, value, message = pickle.loads(answer)  # bytes of our own process, from `_pickled`
        except Exception as error:  # a value whose class cannot be made again here costs its task, not the run
            return self._ended("error", message=f"its result cannot be read: {type(error).__name__}: {error}")
        if status == USER_ERROR:
            raise value(message)
        return self._ended(status, value, message)

    def _died(self) -> Outcome[Task]:
        self._process.join(_END_S)
        code = self._process.exitcode
        self.kill()
        if not self._ready and code == _PYTHON_ERROR:
            raise UserError(_NO_START)
        return self._ended("crashed", message=f"the worker process died ({_exit(code)})")

    def _ended(self, status: str, value: Any = None, message: str | None = None) -> Outcome[Task]:
        self.busy = False
        return Outcome(self._task, status, value, message)

    def retire(self) -> None:
        """It ends by itself once it has nothing to do."""
        self.alive = False
        self._pipe.close()

    def kill(self) -> None:
        """At once, whatever it is doing."""
        self.retire()
        self._process.kill()
        self._process.join(_END_S)

    def end(self) -> None:
        """Killed where it is busy; otherwise it may leave in good order, if that is soon."""
        if self.alive and not self.busy:
            self.retire()
            self._process.join(_END_S)
        self.kill()


def _serve(pipe: Connection, function: Callable[[Any], Any], prepare: Callable[[], None]) -> None:
    """The process's life: until the other end of the pipe is closed, or whoever holds it is dead."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    prepared = attempt(prepare)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError), heard(lambda: _give_sign(pipe)):
        pipe.send_bytes(_READY)
        while True:
            task = pipe.recv()
            pipe.send_bytes(_pickled(attempt(function, task) if prepared[0] == "ok" else prepared))


def _give_sign(pipe: Connection) -> None:
    with suppress(OSError):  # the parent is gone, which this process learns by itself
        pipe.send_bytes(_SIGN)


def _end_with_parent() -> None:
    """At once, in the middle of a task: the same command, asked again, would otherwise meet the worker of the one that
    was killed, and each would take away what the other has begun.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _pickled(answer: tuple[str, Any, str | None]) -> bytes:
    """Or, where its value cannot be pickled, that."""
    done = attempt(pickle.dumps, answer)
    return done[1] if done[0] == "ok" else pickle.dumps(done)


def _exit(code: int | None) -> str:
    if code is not None and code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"
