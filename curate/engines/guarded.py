"""An engine that stops when its driver may not go on."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from clipmill.curate.engines import Engine, Outcome, Task


@dataclass(frozen=True)
class GuardedEngine:
    """engine: does the work. check: asked before each outcome is given on; what it raises ends the work."""

    engine: Engine
    check: Callable[[], None]

    def map(
        self,
        function: Callable[[Task], Any],
        tasks: Iterable[Task],
        timeout_s: Callable[[Task], float],
        prepare: Callable[[], None],
    ) -> Iterator[Outcome[Task]]:
        """See `Engine`."""
        for outcome in self.engine.map(function, tasks, timeout_s, prepare):
            self.check()
            yield outcome
