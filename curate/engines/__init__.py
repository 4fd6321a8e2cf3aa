"""Engines run a function over tasks in isolated workers. `local` uses processes on this machine; a cluster engine fits
the same seam. `inline` has no workers and keeps the first of these promises only.

An engine promises: every task comes back exactly once, as an `Outcome`; a task that crashes or hangs costs only itself;
memory that a worker leaks is given back when the worker is recycled. Tasks write their own files; results are small.

May import: errors, common. Imported by: driver, export, and `signs` by what works long.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

Task = TypeVar("Task")


@dataclass(frozen=True)
class Outcome(Generic[Task]):
    """What became of a task. status: ok | error (it raised) | crashed (its process died) | timeout (it did not get
    on, and was killed).
    """

    task: Task
    status: str
    value: Any = None
    message: str | None = None


class Engine(Protocol):
    """`map` yields outcomes as they come, in any order. `prepare` runs once in every new worker."""

    def map(
        self,
        function: Callable[[Task], Any],
        tasks: Iterable[Task],
        timeout_s: Callable[[Task], float],
        prepare: Callable[[], None],
    ) -> Iterator[Outcome[Task]]:
        """Yields one `Outcome` for every task. function, prepare and tasks must pickle; function's results come back as
        `Outcome.value`.
        timeout_s: of a task, seconds without a sign that it gets on (`signs.got_on`) after which it is killed. Raises
        UserError where a task does, or fills the disk: that is the same for every task.
        """
        ...


def prepare_worker() -> None:
    """Once per worker process: no thread pools beside ours."""
    import cv2

    cv2.setNumThreads(0)
