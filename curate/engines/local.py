"""Worker processes on this machine, each killed when its task does not get on, none in another's way."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from clipmill.curate.engines import Outcome, Task
from clipmill.curate.engines.worker import Worker

# A worker that died may have been killed for its neighbour's memory: one more try on a fresh worker tells.
_TRIES_AFTER_CRASH = 1
_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class LocalEngine:
    """workers: processes. recycle_after: tasks after which a worker is replaced, so that leaks in libraries stay
    bounded; one that has not lived for recycle_s seconds stays, because its start takes longer than small tasks do.
    """

    workers: int
    recycle_after: int = 64
    recycle_s: float = 60.0

    def map(
        self,
        function: Callable[[Task], Any],
        tasks: Iterable[Task],
        timeout_s: Callable[[Task], float],
        prepare: Callable[[], None],
    ) -> Iterator[Outcome[Task]]:
        """See `Engine`. Leaving the iteration early (an exception, Ctrl-C) kills the workers at once.

        A UserError in a worker (absent weights, say) or a full disk is the same for every task: it ends the iteration.
        """
        todo = ((task, 0) for task in tasks)
        again: deque[tuple[Task, int]] = deque()
        workers: list[Worker[Task]] = []
        try:
            while True:
                workers = [worker for worker in workers if worker.alive]
                while sum(worker.busy for worker in workers) < self.workers and (next_one := _next(again, todo)):
                    worker = next((worker for worker in workers if not worker.busy), None)
                    if worker is None:
                        with _one_thread():
                            worker = Worker(function, prepare)
                        workers.append(worker)
                    task, tries = next_one
                    worker.give(task, timeout_s(task), tries)
                if not any(worker.busy for worker in workers):
                    break
                for outcome, tries in self._outcomes(workers):
                    if outcome.status == "crashed" and tries < _TRIES_AFTER_CRASH:
                        again.append((outcome.task, tries + 1))
                    else:
                        yield outcome
        finally:
            for worker in workers:
                worker.end()

    def _outcomes(self, workers: Iterable[Worker[Task]]) -> Iterator[tuple[Outcome[Task], int]]:
        """Waits until something happens or a deadline comes. Yields what is done, with the number of tries before."""
        busy = [worker for worker in workers if worker.busy]
        rest_s = min(worker.deadline_s for worker in busy) - time.monotonic()
        wait([signal for worker in busy for signal in worker.signals], max(0.0, rest_s))
        for worker in busy:
            outcome = worker.outcome()
            if outcome is not None:
                if worker.alive and worker.n_tasks >= self.recycle_after and worker.age_s >= self.recycle_s:
                    worker.retire()
                yield outcome, worker.tries


@contextmanager
def _one_thread() -> Iterator[None]:
    """Parallel by process: thread pools must know before their libraries load, so a worker inherits it. The caller's
    own environment comes back: what it starts or imports later may have threads.
    """
    before = {name: os.environ.get(name) for name in _THREAD_LIMITS}
    os.environ.update(dict.fromkeys(_THREAD_LIMITS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _next(again: deque[tuple[Task, int]], todo: Iterator[tuple[Task, int]]) -> tuple[Task, int] | None:
    return again.popleft() if again else next(todo, None)
