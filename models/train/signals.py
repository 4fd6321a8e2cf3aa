"""SIGTERM and SIGUSR1 ask for a checkpoint and an orderly end; Ctrl-C does too, a second one ends at once."""

import signal
from types import FrameType

ASKING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class StopAsked:
    """`with StopAsked() as asked:` collects signals; `asked.name` is the first one's, None before."""

    def __init__(self) -> None:
        self.name: str | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopAsked":
        for number in ASKING:
            self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _take(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.name is not None:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name
