"""Worker processes on this machine, each killed at its task's deadline. Built on pebble's process pool, always spawned."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass
from typing import Any

from pebble import ProcessExpired, ProcessPool

from curate.engines import Outcome, Task
from curate.errors import UserError

# A worker that died may have been killed for its neighbour's memory: one more try on a fresh worker tells.
_TRIES_AFTER_CRASH = 1
_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class LocalEngine:
    """workers: processes. recycle_after: tasks after which a worker is replaced, so that leaks in libraries stay bounded."""

    workers: int
    recycle_after: int = 64

    def map(
        self,
        function: Callable[[Task], Any],
        tasks: Iterable[Task],
        timeout_s: Callable[[Task], float],
        prepare: Callable[[], None],
    ) -> Iterator[Outcome[Task]]:
        """See `Engine`. Leaving the iteration early (an exception, Ctrl-C) kills the workers at once.

        A UserError in a worker (absent weights, say) is the same for every task: it ends the iteration.
        """
        # Parallel by process: thread pools must know before their libraries load, so the workers inherit it.
        os.environ.update(dict.fromkeys(_THREAD_LIMITS, "1"))
        context = multiprocessing.get_context("spawn")
        waiting = iter(tasks)
        running: dict[Future, tuple[Task, int]] = {}
        with ProcessPool(self.workers, max_tasks=self.recycle_after, initializer=prepare, context=context) as pool:
            try:
                while True:
                    while len(running) < 2 * self.workers and (task := next(waiting, None)) is not None:
                        running[_schedule(pool, function, task, timeout_s(task))] = task, 0
                    if not running:
                        break
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        task, tries = running.pop(future)
                        outcome = _outcome(task, future)
                        if outcome.status == "crashed" and tries < _TRIES_AFTER_CRASH:
                            running[_schedule(pool, function, task, timeout_s(task))] = task, tries + 1
                        else:
                            yield outcome
            except BaseException:
                pool.stop()
                raise


def _schedule(pool: ProcessPool, function: Callable[[Task], Any], task: Task, timeout_s: float) -> Future:
    return pool.schedule(function, args=[task], timeout=timeout_s)


def _outcome(task: Task, future: Future) -> Outcome[Task]:
    try:
        return Outcome(task, "ok", future.result())
    except TimeoutError as error:
        after = f" of {error.args[1]:g} s" if len(error.args) > 1 else ""
        return Outcome(task, "timeout", message=f"killed at its deadline{after}")
    except ProcessExpired as error:
        return Outcome(task, "crashed", message=f"the worker process died ({_exit(error.exitcode)})")
    except UserError:
        raise
    except CancelledError:
        return Outcome(task, "error", message="cancelled")
    except Exception as error:
        return Outcome(task, "error", message=f"{type(error).__name__}: {' '.join(str(error).split())}")


def _exit(code: int | None) -> str:
    import signal

    if code is not None and code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"
