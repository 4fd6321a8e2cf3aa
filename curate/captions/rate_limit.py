"""How often requests may begin, for all threads of a process together."""

import threading
import time
from collections.abc import Callable


class RateLimit:
    """requests_per_minute: None for no limit. A pause that one request was told to make holds for all."""

    def __init__(
        self,
        requests_per_minute: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._gap_s = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._clock, self._sleep = clock, sleep
        self._next_s = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Returns when a request may begin. Requests are spread evenly: a burst at the start would use up the server's
        own limit.
        """
        while (rest_s := self._rest_s()) > 0:
            self._sleep(rest_s)

    def _rest_s(self) -> float:
        """0 where a request may begin now, and its place is then taken."""
        with self._lock:
            now_s = self._clock()
            if now_s >= self._next_s:
                self._next_s = now_s + self._gap_s
                return 0.0
            return self._next_s - now_s

    def pause(self, seconds: float) -> None:
        """No further request begins for so long."""
        with self._lock:
            self._next_s = max(self._next_s, self._clock() + seconds)
