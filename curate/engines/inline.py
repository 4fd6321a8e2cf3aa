"""No workers: the tasks run one after the other in this process. For a debugger, a profiler, a script that has no
`if __name__ == "__main__":`, and work so small that starting workers is most of it.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from clipmill.curate.engines import Outcome, Task
from clipmill.curate.engines.attempt import USER_ERROR, attempt


class InlineEngine:
    """Nothing protects this process: a decoder that hangs holds it up for ever (deadlines are not kept), and one that
    crashes takes it down. The data are those of `local`, byte for byte, where this process has one thread
    (`OMP_NUM_THREADS=1`).
    """

    def map(
        self,
        function: Callable[[Task], Any],
        tasks: Iterable[Task],
        timeout_s: Callable[[Task], float],
        prepare: Callable[[], None],
    ) -> Iterator[Outcome[Task]]:
        """See `Engine`."""
        import cv2

        threads = cv2.getNumThreads()
        prepare()
        try:
            for task in tasks:
                status, value, message = attempt(function, task)
                if status == USER_ERROR:
                    raise value(message)
                yield Outcome(task, status, value, message)
        finally:
            cv2.setNumThreads(threads)
