"""How a run is done. Light: imported by the command line."""

import os
from dataclasses import dataclass

_TIMEOUT_S, _TIMEOUT_S_PER_MB = 300.0, 1.0


@dataclass(frozen=True)
class RunOptions:
    """How to run, not what. Nothing here but `lazy` changes a byte of the data.

    timeout_s: deadline per video; None: 300 s and 1 s more per MB. retry_errors: do again what ended as an error row.
    lazy: leave out, and record as not run, what follows the decoding for clips that a filter has dropped by then.
    """

    workers: int = 0
    device: str = "auto"
    timeout_s: float | None = None
    retry_errors: bool = False
    lazy: bool = False

    @property
    def n_workers(self) -> int:
        """`workers`, or where that is 0 as many as there are cores for this process."""
        return self.workers or len(os.sched_getaffinity(0))

    def deadline_s(self, size_bytes: int) -> float:
        """Seconds that a video of this size may take: `timeout_s`, or without it 300 and one more per 10^6 bytes."""
        return self.timeout_s or _TIMEOUT_S + _TIMEOUT_S_PER_MB * size_bytes / 1e6
