"""A soak: commands that are killed, disks that fill, sources that change, and inputs of unusual size.

    python benchmarks/soak.py [--part kills,disks,sizes] [--n 300] [--seed 0] [--minutes 60] [--work FOLDER]

After each disturbance the same command must end with the bytes of an undisturbed one, and do no finished unit of work
again. Prints one table for each part; what did not hold is listed below it, with the moment. --n: kills. --minutes:
the part stops after that, and says how much of it was done. What needs rights that are not there is listed as skipped.
The part `kills` ran with a few kills; `disks` and `sizes` have not run to their end yet, so none of their figures
stands in docs/measured.md.
"""

import argparse
import datetime
import tempfile
import time
from pathlib import Path

from _soak_disks import disks
from _soak_kills import kills
from _soak_sizes import sizes

HEAD = "| what | how many | held | what was lost | seconds | CPU seconds | date |\n|---|---|---|---|---|---|---|"


def table(rows):
    """Markdown of the rows, and of what failed and was skipped."""
    date = datetime.datetime.now(datetime.UTC).date()
    lines = [HEAD]
    for row in rows:
        count = f"{row.done} of {row.wanted}" if row.done != row.wanted else f"{row.done}"
        lost = f"skipped: {row.skipped}" if row.skipped else row.lost
        lines.append(f"| {row.what} | {count} | {row.held} | {lost} | {row.seconds:.0f} | {row.cpu_s:.0f} | {date} |")
    failures = [failure for row in rows for failure in row.failures]
    return "\n".join([*lines, *(["", "Did not hold:", ""] if failures else []), *(f"- {text}" for text in failures)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", default="kills,disks,sizes")
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=20, help="of each part")
    parser.add_argument("--work", type=Path, default=None, help="where it works; must be new; stays")
    options = parser.parse_args()
    for name in options.part.split(","):
        until = time.monotonic() + 60 * options.minutes
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            work = (options.work or Path(folder)) / name
            work.mkdir(parents=True)
            rows = parts(work, options, lambda until=until: time.monotonic() > until)[name]()
        print(f"{table(rows)}\n", flush=True)


def parts(work, options, out_of_time):
    return {
        "kills": lambda: kills(work, options.n, options.seed, out_of_time),
        "disks": lambda: disks(work, options.seed, out_of_time),
        "sizes": lambda: sizes(work, options.seed, out_of_time),
    }


if __name__ == "__main__":
    main()
