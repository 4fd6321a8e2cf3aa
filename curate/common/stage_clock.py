"""Seconds per stage of a worker's work, for run.jsonl and the benchmarks."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class StageClock:
    """Adds up wall seconds by stage name. `with clock("cuts"): ...`, or `clock.add("decode", seconds)` in a tight
    loop.
    """

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def add(self, stage: str, seconds: float) -> None:
        """Adds wall seconds to a stage."""
        self.seconds[stage] += seconds

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - began
