"""What a person sees while a command runs: one progress bar owned by the driver, plain lines where there is no
terminal.
"""

import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_PLAIN_EVERY_S = 10.0
_ACTING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# What is done so soon was there before, and says nothing of the rate.
_FOUND_S = 0.5


Tell = Callable[[str], None]
"""Takes what a person is told, one or more whole lines at a time."""


def visible(text: str) -> str:
    """Text as it may go to a terminal: what would act on it (escape sequences, bells, changes of direction) is shown
    as `\\x1b`. Names of files and captions are other people's.
    """
    return _ACTING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class Terminal:
    """Tells a person at a command: words on stdout; progress on stderr, as a bar where that is a terminal."""

    def __call__(self, text: str) -> None:
        """One line on stdout."""
        print(visible(text), flush=True)


say = Terminal()


def silent(text: str) -> None:
    """Tells nobody."""


def _progress_line(text: str) -> None:
    print(visible(text), file=sys.stderr, flush=True)


class Progress:
    """A bar over `total` units that also shows counts such as clips and errors. tell: who gets the plain lines where
    there is no bar; a `Terminal` gets them on stderr.
    """

    def __init__(self, title: str, total: float, unit: str, tell: Tell = say) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._has_bar = isinstance(tell, Terminal) and sys.stderr.isatty()
        self._line = _progress_line if isinstance(tell, Terminal) else tell
        self._done, self._shown_at = 0.0, time.monotonic()
        self._began, self._found = self._shown_at, 0.0
        self._bar: Any = None
        self._task: Any = None

    def start(self) -> None:
        """Shows the bar where stderr is a terminal; elsewhere `advance` tells a line now and then."""
        if not self._has_bar:
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._bar = Bar(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task(self._title, total=self._total, note="")
        self._bar.start()

    def advance(self, amount: float = 1, note: str = "") -> None:
        """`note`: running counts, for example `412 clips, 1 error`."""
        self._done += amount
        if time.monotonic() - self._began < _FOUND_S:
            self._found = self._done
        if self._bar is not None:
            self._bar.update(self._task, advance=amount, note=note)
        elif time.monotonic() - self._shown_at > _PLAIN_EVERY_S:
            self._shown_at = time.monotonic()
            done = f"{self._title}: {self._done:.10g} of {self._total:.10g} {self._unit}"
            self._line("; ".join(filter(None, (done, note, self._left()))))

    def _left(self) -> str:
        """The time that what is left will take at the rate until now; empty where there is none yet."""
        seconds, done, left = time.monotonic() - self._began, self._done - self._found, self._total - self._done
        if done <= 0 or left <= 0:
            return ""
        ahead = seconds * left / done
        return (
            f"about {ahead:.0f} s left"
            if ahead < 100
            else f"about {ahead / 60:.0f} min left"
            if ahead < 6000
            else (f"about {ahead / 3600:.1f} h left")
        )

    def reach(self, done: float, total: float) -> None:
        """For work whose amount shows only when it begins: `reach(0, total)` tells at once that it does."""
        amount, self._total = done - self._done, total
        if self._bar is not None:
            self._bar.update(self._task, total=total)
        elif done == 0:
            self._began = self._shown_at = time.monotonic()
            self._line(f"{self._title}: 0 of {total:.10g} {self._unit}")
        self.advance(amount)

    def stop(self) -> None:
        """Takes the bar off the terminal, where there is one."""
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def progress(title: str, total: float, unit: str, tell: Tell = say) -> Iterator[Progress]:
    """The one progress bar of a stage."""
    bar = Progress(title, total, unit, tell)
    bar.start()
    try:
        yield bar
    finally:
        bar.stop()


def append_event(path: Path, event: Mapping[str, Any]) -> None:
    """One line of run.jsonl."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(event, ensure_ascii=False, default=str) + "\n")


class DownloadLines:
    """Called with (name, bytes done, bytes in all or None) while something is downloaded; says so every few seconds,
    and at the end.
    """

    def __init__(self, tell: Tell = say) -> None:
        self._shown_at = 0.0
        self._line = _progress_line if isinstance(tell, Terminal) else tell

    def __call__(self, name: str, done_bytes: int, all_bytes: int | None) -> None:
        ended = all_bytes is not None and done_bytes >= all_bytes
        if ended or time.monotonic() - self._shown_at > _PLAIN_EVERY_S:
            self._shown_at = time.monotonic()
            of = f" of {all_bytes / 1e6:.0f}" if all_bytes else ""
            self._line(f"downloading {name}: {done_bytes / 1e6:.0f}{of} MB")
