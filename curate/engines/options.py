"""How a run is done. Light: imported by the command line."""

import os
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from clipmill.curate.common.log import Progress, Tell, progress, say

ENGINE_VARIABLE = "CLIPMILL_ENGINE"
_TIMEOUT_S, _TIMEOUT_S_PER_MB = 300.0, 1.0


@dataclass(frozen=True)
class RunOptions:
    """How to run, not what, and who is told. Nothing here but `lazy` and `drop_missing` changes a byte of the data.

    workers: processes, 0 for one per core. device: auto, cpu or cuda, for the networks. timeout_s: in which a video has
    to get on, else it is given up; None: 300 s and 1 s more per MB. retry_errors: do again what ended as an error row.
    lazy: leave out, and record as not run, what follows the decoding for clips that a filter has dropped by then.
    engine: where workers run, "local" for this machine, "inline" for no workers; the default is what the environment
    variable CLIPMILL_ENGINE says, and without it "local". tell: gets words and progress. drop_missing: videos of
    earlier commands that this one does not find leave the run. keeps_rows: a video that fails keeps the rows that it
    has.
    """

    workers: int = 0
    device: str = "auto"
    timeout_s: float | None = None
    retry_errors: bool = False
    lazy: bool = False
    engine: str = field(default_factory=lambda: os.environ.get(ENGINE_VARIABLE, "local"))
    tell: Tell = say
    drop_missing: bool = False
    keeps_rows: bool = False

    @property
    def n_workers(self) -> int:
        """`workers`, or where that is 0 as many as there are cores for this process."""
        return self.workers or len(os.sched_getaffinity(0))

    def deadline_s(self, size_bytes: int) -> float:
        """Seconds in which a video of this size has to get on: `timeout_s`, or without it 300 and one more per 10^6
        bytes.
        """
        return self.timeout_s or _TIMEOUT_S + _TIMEOUT_S_PER_MB * size_bytes / 1e6

    def progress(self, title: str, total: float, unit: str) -> AbstractContextManager[Progress]:
        """The bar of a stage, shown to whom `tell` tells."""
        return progress(title, total, unit, self.tell)
