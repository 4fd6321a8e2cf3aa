"""What threads and other busy processes cost a training: the preset `demo` and the small network of
`curation_gain.py`, with one thread and with two, alone and beside two processes that never rest.

    python benchmarks/beside_others.py [--minutes 0.6] [--run RUN]

Threads sleep while they wait (what clipmill sets); the demo is trained with threads that spin (OpenMP's own way) as
well. Each training has so many minutes. clips/s: windows a second, the median of the trainer's log after its first
steps. clips per CPU second: windows over the CPU seconds of the whole command, less those of the same command for one
step. On an otherwise quiet machine the whole takes about twelve minutes. Prints Markdown.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

from curation_gain import SIZES

BUSY = "while True: pass"
SPIN = {"OMP_WAIT_POLICY": "ACTIVE", "OPENBLAS_THREAD_TIMEOUT": "26"}
SYSTEMS = {"demo": (), "experiment": SIZES["window"].settings}
# Threads, and what they do while they wait.
WAYS = {(1, "sleep"): {}, (2, "sleep"): {}, (2, "spin"): SPIN}
WARM_UP_STEPS = 20


@contextmanager
def busy(count):
    """`count` processes that never rest."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def command(module, *words, **environment):
    """Run one of the commands in its own process, quietly. Returns its CPU seconds."""
    line = [sys.executable, "-m", f"clipmill.{module}.cli", *map(str, words)]
    # What the shell has set is not measured.
    clean = {key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", *SPIN)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, env=clean | environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def train(run, out, system, limits, environment):
    """(CPU seconds, lines of the log) of a training. limits: settings of how long."""
    sets = [*SYSTEMS[system], "train.validate_every=0", "train.log_every=5", *limits]
    words = [word for text in sets for word in ("--set", text)]
    cache = ("--cache", out.parent / f"latents-{system}")
    cpu_s = command(
        "models", "train", run, "--config", "demo", "--device", "cpu", "--out", out, *cache, *words, **environment
    )
    return cpu_s, [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def measured(run, work, system, way, minutes):
    """Rows of one system with one way of threads: alone, and beside two others."""
    threads, policy = way
    environment = WAYS[way] | {"OMP_NUM_THREADS": str(threads)}
    place = work / f"{system}-{threads}-{policy}"
    start_s, _ = train(run, Path(f"{place}-start"), system, ["train.steps=1"], environment)
    alone = None
    for others in (0, 2):
        with busy(others):
            limits = ["train.steps=100000", f"train.minutes={minutes}"]
            cpu_s, log = train(run, Path(f"{place}-{others}"), system, limits, environment)
        # Threads that spin beside others may not come as far as that.
        first = min(WARM_UP_STEPS, log[-1]["step"] // 2)
        rates = sorted(row["clips_per_s"] for row in log if "clips_per_s" in row and row["step"] > first)
        if not rates:
            raise SystemExit("no step after the warm-up was logged: give it more --minutes")
        rate, steps = rates[len(rates) // 2], log[-1]["step"]
        alone = alone or rate
        per_cpu_s = (steps - 1) * _batch(system) / (cpu_s - start_s)
        yield f"| {system} | {threads} | {policy} | {others} | {rate:.0f} | {rate / alone:.2f} | {per_cpu_s:.0f} |"


def _batch(system):
    from clipmill.models.config import load

    return load("demo", SYSTEMS[system]).data.batch


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0.6, help="of each training")
    parser.add_argument("--run", type=Path, help="a curate run; without it the demo's videos are rendered and curated")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if options.run is None:
            command("curate", "demo", work / "videos", "--minutes", 3)
            command("curate", "run", work / "videos", "--out", work / "run")
        run = options.run or work / "run"
        print("| trained | threads | that wait | others | clips/s, median | of alone | clips per CPU second |")
        print("|---|---|---|---|---|---|---|")
        for system in SYSTEMS:
            # Fills the cache of latents, which is no part of the measurement.
            train(run, work / f"{system}-first", system, ["train.steps=1"], {})
            for way in WAYS:
                if way[1] == "sleep" or system == "demo":
                    for row in measured(run, work, system, way, options.minutes):
                        print(row, flush=True)
        print(f"\n{os.cpu_count()} cores")


if __name__ == "__main__":
    main()
