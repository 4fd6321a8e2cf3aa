"""A soak: commands that are killed, disks that fill, folders that go away, sources that change, and inputs of unusual
size.

    python benchmarks/soak.py [--part kills,disks,sizes] [--n 300] [--minutes 60] [--lanes 2] [--work DIR]

After each disturbance the same command must end with all files as an undisturbed one leaves them, do no more than one
finished unit of work again, and leave no process and no temporary file. Where the disturbance ends a command, it must
say so in one line. Prints one table; what did not hold is listed below it, with the moment. --n: kills. --minutes: of
all parts together; a part that has no time left says how much of it was done. What needs rights that are not there is
listed as skipped.
"""

import argparse
import datetime
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from _soak_disks import disks
from _soak_kills import kills
from _soak_sizes import sizes

HEAD = "| what | how often | held | before its first file | finished units made again | minutes | CPU minutes | |\n" + (
    "|---|---|---|---|---|---|---|---|"
)


def table(rows):
    """Markdown of the rows."""
    lines = [HEAD]
    for row in rows:
        count = f"{row.done} of {row.wanted}" if row.done != row.wanted else f"{row.done}"
        note = f"skipped: {row.skipped}" if row.skipped else row.note
        figures = f"{row.held} | {row.idle} | {row.again} | {row.seconds / 60:.1f} | {row.cpu_s / 60:.1f}"
        lines.append(f"| {row.what} | {count} | {figures} | {note} |")
    return "\n".join(lines)


def beside(rows, began, loads):
    """When it was measured and what else the machine did; what did not hold."""
    date, minutes = datetime.datetime.now(datetime.UTC).date(), (time.monotonic() - began) / 60
    load = f"load average {min(loads):.1f} to {max(loads):.1f} on {os.cpu_count()} cores"
    failures = [f"- {failure}" for row in rows for failure in row.failures]
    head = ["", "Did not hold:", ""] if failures else []
    return "\n".join(["", f"{date}, {minutes:.0f} minutes, {load}.", *head, *failures])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", default="kills,disks,sizes")
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60, help="of all parts together")
    parser.add_argument("--lanes", type=int, default=2, help="commands that are killed at once; beside them, each part")
    parser.add_argument("--work", type=Path, default=None, help="where it works; must be new; stays")
    options = parser.parse_args()
    began, names, loads = time.monotonic(), options.part.split(","), [os.getloadavg()[0]]

    def late():
        loads.append(os.getloadavg()[0])
        return time.monotonic() > began + 60 * options.minutes

    with tempfile.TemporaryDirectory(prefix="soak-") as folder, ThreadPoolExecutor(len(names)) as pool:
        works = {name: (options.work or Path(folder)) / name for name in names}
        for work in works.values():
            work.mkdir(parents=True)
        jobs = [pool.submit(part(name), works[name], options, late) for name in names]
        rows = [row for job in jobs for row in job.result()]
    print(f"{table(rows)}\n{beside(rows, began, loads)}", flush=True)


def part(name):
    return {
        "kills": lambda work, options, late: kills(work, options.n, options.seed, late, options.lanes),
        "disks": lambda work, options, late: disks(work, options.seed, late),
        "sizes": lambda work, options, late: sizes(work, options.seed, late),
    }[name]


if __name__ == "__main__":
    main()
