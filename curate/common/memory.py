"""How much memory there is, to say in one line that something does not fit before it is tried."""

import os
from contextlib import suppress
from pathlib import Path

from clipmill.curate.errors import UserError

# Of a container, in the two ways that Linux tells it.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_bytes() -> int:
    """Of this machine, or of the container that the process is in, where that has less."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in _LIMITS:
        with suppress(OSError, ValueError):  # no container, or one without a limit
            found.append(int(Path(name).read_text()))
    return min(found)


def check_fits(size_bytes: float, what: object, remedy: str) -> None:
    """Raises UserError where `what` takes more memory than there is."""
    there = memory_bytes()
    if size_bytes > there:
        raise UserError(f"{what} takes {size_bytes / 1e9:.3g} GB of memory, there are {there / 1e9:.3g} GB: {remedy}")
