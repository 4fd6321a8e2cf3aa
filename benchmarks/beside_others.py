"""What other busy processes cost a training: the same steps of the preset `demo`, alone and beside two busy processes.

    python benchmarks/beside_others.py [--steps 700] [--run RUN]

Each is trained with threads that sleep while they wait (what clipmill sets) and with threads that spin (OpenMP's own
way). The rates are those of the trainer's log, from step 100 on. Prints Markdown.
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

BUSY = "while True: pass"
PLACES = {"sleep": {}, "spin": {"OMP_WAIT_POLICY": "ACTIVE", "OPENBLAS_THREAD_TIMEOUT": "26"}}
WARM_UP_STEPS = 100


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
    """Run one of the commands in its own process, quietly."""
    line = [sys.executable, "-m", f"clipmill.{module}.cli", *map(str, words)]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL, env=os.environ | environment)


def train(run, out, steps, minutes, environment):
    """(clips per second after the warm-up, steps, CPU seconds of the whole command)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    limits = ("--steps", steps, "--set", f"train.minutes={minutes}", "--set", "train.validate_every=0")
    command("models", "train", run, "--config", "demo", "--device", "cpu", "--out", out, *limits, **environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    rates = [row["clips_per_s"] for row in rows if "clips_per_s" in row and row["step"] > WARM_UP_STEPS]
    if not rates:
        raise SystemExit("no step after the warm-up was logged: give it more minutes")
    return sorted(rates)[len(rates) // 2], rows[-1]["step"], after.ru_utime - before.ru_utime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--minutes", type=float, default=4.0, help="limit for one training")
    parser.add_argument("--run", type=Path, help="a curate run; without it the demo's videos are rendered and curated")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        if options.run is None:
            command("curate", "demo", work / "videos", "--minutes", 3)
            command("curate", "run", work / "videos", "--out", work / "run")
        run = options.run or work / "run"
        print("| threads that wait | others | clips/s, median | of alone | steps | CPU, s |\n|---|---|---|---|---|---|")
        for policy, environment in PLACES.items():
            alone = None
            for others in (0, 2):
                with busy(others):
                    place = work / f"{policy}{others}"
                    rate, steps, cpu_s = train(run, place, options.steps, options.minutes, environment)
                alone = alone or rate
                print(f"| {policy} | {others} | {rate:.0f} | {rate / alone:.2f} | {steps} | {cpu_s:.0f} |", flush=True)
        print(f"\n{os.cpu_count()} cores, preset demo")


if __name__ == "__main__":
    main()
