"""How the operating system schedules this process, kept through a library that changes it.

SVT-AV1 makes the thread that opens it and all its own threads real-time (SCHED_FIFO) where it may, as for root in a
container. Left so, a process starves every other one on its core, for as long as it lives.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def scheduled_as_before() -> Iterator[None]:
    """Afterwards every thread of this process has the policy that the calling one had. Linux; elsewhere nothing."""
    if not hasattr(os, "sched_setscheduler") or not os.path.isdir("/proc/self/task"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in map(int, os.listdir("/proc/self/task")):
            with suppress(OSError):  # a thread that has ended meanwhile
                if os.sched_getscheduler(thread) != policy:
                    os.sched_setscheduler(thread, policy, parameters)
