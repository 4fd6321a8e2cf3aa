"""Are eight steps of a distilled model as good as sixty-four of its teacher?

    python benchmarks/distillation.py [--seeds 0,1,2] [--teacher-steps 1500] [--student-steps 400] [--n 128]
    [--work DIR] [--results FILE]

Trains the preset `demo` on the kept clips of the demo's videos, then halves its 64 steps of sampling three times with
`demo-distil`. Distance: Fréchet, on the features of `mini` (no FVD), against held-out clean clips of another demo seed,
less that of training windows through the latents and back, which no sampler can go below. A row a seed, of training and
sampling alike; the last row is their mean. The bar: the student's eight steps lie within 10 % of the teacher's
sixty-four, the teacher's own eight outside. Prints a Markdown table. With --work everything is kept there, and what is
there is not made again.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from demo_training import HELD_OUT, curated, features, floor, samples, windows

from clipmill import models
from clipmill.evaluate.distances.frechet import frechet_distance
from clipmill.models.config import load

TRAIN, MOST, FEWEST, BAR = (0, 12), 64, 8, 0.1
QUIET = {"train.validate_every": 0, "train.checkpoint_every": 0}


def trained(work, run, seed, options):
    """Folders of the teacher and of the student of eight steps."""
    teacher = before = work / f"teacher{seed}"
    made = {"sample.steps": MOST, "train.steps": options.teacher_steps, "train.seed": seed} | QUIET
    models.train(run, teacher, "demo", made, device="cpu", cache=work / "latents", tell=None)
    for steps in (MOST // 2, MOST // 4, FEWEST):
        own = {"distil.teacher": str(before), "train.steps": options.student_steps, "train.seed": seed} | QUIET
        before = work / f"student{seed}-{steps}"
        models.train(run, before, "demo-distil", own, device="cpu", cache=work / "latents", tell=None)
    return teacher, before


def distance(real, checkpoint, out, steps, seed, count):
    """Of samples with so many steps."""
    settings = {"sample.steps": steps, "sample.batch": 64}
    models.sample(checkpoint, out, count, settings, seed=seed, device="cpu", tell=None)
    return frechet_distance(real, features(samples(out)))


def measured(work, run, real, seed, options):
    """Distances of one seed, less the floor."""
    teacher, student = trained(work, run, seed, options)
    again, _ = floor(teacher, work / f"floor{seed}", options.n)
    least = frechet_distance(real, features(again))
    asked = {"teacher, 64": (teacher, MOST), "teacher, 8": (teacher, FEWEST), "student, 8": (student, FEWEST)}
    found = {
        name: distance(real, checkpoint, work / f"{checkpoint.name}-by{steps}", steps, seed, options.n) - least
        for name, (checkpoint, steps) in asked.items()
    }
    return {"seed": seed, "floor": least} | found


def row(found):
    """Markdown."""
    most, own, learned = (found[name] for name in ("teacher, 64", "teacher, 8", "student, 8"))
    shares = f"{own / most:.2f} | {learned / most:.2f}"
    return f"| {found['seed']} | {found['floor']:.1f} | {most:.1f} | {own:.1f} | {learned:.1f} | {shares} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--teacher-steps", type=int, default=1500)
    parser.add_argument("--student-steps", type=int, default=400)
    parser.add_argument("--n", type=int, default=128)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        run, held_out = curated(work, *TRAIN), curated(work, *HELD_OUT[0])
        real = features(windows([held_out], load("demo"), options.n)[0])
        print("| seed | floor | teacher, 64 steps | teacher, 8 | student, 8 | teacher, 8 of 64 | student, 8 of 64 |")
        print("|---|---|---|---|---|---|---|")
        rows = []
        for seed in map(int, options.seeds.split(",")):
            rows.append(measured(work, run, real, seed, options))
            print(row(rows[-1]), flush=True)
        mean = {name: float(np.mean([one[name] for one in rows])) for name in rows[0]} | {"seed": "mean"}
        print(row(mean))
        told = {"rows": rows, "mean": mean, "cpu_s": time.process_time()}
        (options.results or work / "distillation.json").write_text(json.dumps(told, indent=1) + "\n")
        near = abs(mean["student, 8"] / mean["teacher, 64"] - 1) <= BAR
        far = abs(mean["teacher, 8"] / mean["teacher, 64"] - 1) > BAR
        print(f"student within 10 %: {near}; teacher's own eight steps outside: {far}", file=sys.stderr)


if __name__ == "__main__":
    main()
