"""SIGTERM and SIGUSR1 ask for a checkpoint and an orderly end; Ctrl-C does too, a second one ends at once."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipmill.models.processes import Processes

ASKING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class StoppedEarly(Exception):
    """A signal came before there was a step to finish: no failure, the command ends with this line."""


class StopAsked:
    """`with StopAsked() as asked:` collects signals; `asked.name` is the first one's, None before."""

    def __init__(self) -> None:
        self.name: str | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopAsked":
        # Python hands signals to the main thread alone: called in another, a training ends when it is done.
        for number in ASKING if threading.current_thread() is threading.main_thread() else ():
            self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def told(self, processes: "Processes") -> str | None:
        """Why to stop, in all processes alike, None where none was told; every process must ask."""
        if processes.world == 1:
            return self.name
        return (self.name or "a signal to another process") if processes.any(self.name is not None) else None

    def leave_early(
        self, processes: "Processes", kept: Callable[[], str] = lambda: "there is nothing new to keep"
    ) -> None:
        """Between two parts of what comes before the first step. kept: says what there is of it. Raises StoppedEarly in
        all processes alike; every process must ask.
        """
        name = self.told(processes)
        if name:
            raise StoppedEarly(
                f"stopped before the first step of this command ({name}); {kept()}; the same command goes on"
            )

    def _take(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.name is not None:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name
