"""A sign that long work gets on, so that an engine can tell it from work that hangs.

How long a video takes is not known before it is read: a day of slides may have a few megabytes. So a deadline counts
from the last sign. What hangs, hangs inside a library, and gives none.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_EVERY_S = 1.0
# The loops that get on lie far below the function of a task. Unset outside a worker; threads of a worker give no sign.
_LISTENER: ContextVar[Callable[[], None] | None] = ContextVar("listener", default=None)


def got_on() -> None:
    """To be called wherever work gets on, as often as it does: for every packet, every clip."""
    listener = _LISTENER.get()
    if listener is not None:
        listener()


@contextmanager
def heard(listener: Callable[[], None]) -> Iterator[None]:
    """`listener` is called when work in here gets on, once a second at most."""
    told_s = time.monotonic()

    def tell() -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= _EVERY_S:
            told_s = time.monotonic()
            listener()

    token = _LISTENER.set(tell)
    try:
        yield
    finally:
        _LISTENER.reset(token)
