"""Which network should `curation_gain.py` train? Every candidate on pool A and on pool B alike, on videos that the
experiment never sees.

    python benchmarks/gain_settings.py [--work DIR] [--minutes 12] [--seed 0] [--samples 256] [--at-once 2]
                                       [--only 1,2] [--results FILE]

The rule, fixed before the first candidate ran: of the candidates whose samples of B move at least 0.7 as much as real
clips, whose median distance to the nearest training window is at least 0.6 of held-out clips', and whose distance of A
is at most 19.5, the lowest mean of the Fréchet distances of A and B wins, so that neither pool is favoured. If none has
all three, the one that lacks least: the sum of what is missing of the three, each as a share of its bar. Each candidate
has at most as many steps as fit the time that the experiment has for a training, five CPU minutes. Prints a Markdown
table, and writes its figures to FILE (DIR/gain_settings.json).
"""

import argparse
import json
import resource
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from _networks import CANDIDATES
from curation_gain import BEFORE, MOTION, NEAREST, SIZES, held_out, latents, pools, sampled, train
from demo_training import features, floor, motion, nearest_to, samples, windows

from clipmill.evaluate.distances.frechet import frechet_distance
from clipmill.models.config import load

SOURCE_SEED, HELD_OUT = 10, (11, 6)


def tried(work, name, folders, reference, options):
    """One row: a candidate trained on A and on B."""
    number, settings = list(CANDIDATES).index(name), CANDIDATES[name]
    chosen = load("demo", settings).autoencoder.options
    file = latents(work, settings, "-".join(["latents", *(str(chosen[key]) for key in sorted(chosen))]))
    real, moved = features(reference), motion(reference)

    def one(pool):
        label, before = f"{number}-{pool}-", _cpu_minutes()
        known = (sampled(work, label, options.seed) / "manifest.parquet").is_file()
        shared = f"autoencoder.weights={file}"
        train(work, folders[pool], label, options.seed, SIZES["cpu"], (*settings, shared), options.samples)
        made, took = samples(sampled(work, label, options.seed)), _cpu_minutes() - before
        found = {pool: frechet_distance(real, features(made)), f"motion {pool}": motion(made) / moved}
        # Of two at once nobody knows whose minutes they were.
        return found | {f"CPU minutes {pool}": None if known or options.at_once > 1 else took}

    with ThreadPoolExecutor(options.at_once) as both:
        found = dict(item for part in both.map(one, ("A", "B")) for item in part.items())
    again, known = floor(work / f"checkpoint-{number}-B-{options.seed}", work / f"floor-{number}", options.samples)
    made = samples(sampled(work, f"{number}-B-", options.seed))
    found["nearest B"] = nearest_to(known, made) / nearest_to(known, reference)
    found["floor B"], found["floor motion B"] = frechet_distance(real, features(again)), motion(again) / moved
    return {"candidate": name, "settings": settings, "mean": (found["A"] + found["B"]) / 2} | found


def _cpu_minutes():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) / 60


def best(rows):
    """The row that the rule chooses."""

    def lacks(row):
        shares = (1 - row["motion B"] / MOTION, 1 - row["nearest B"] / NEAREST, row["A"] / BEFORE - 1)
        return sum(max(0, share) for share in shares)

    return min(rows, key=lambda row: (lacks(row), row["mean"]))


def table(rows):
    """Markdown, in the order tried."""
    head = ("network", "A", "B", "mean", "motion, of real, A and B", "nearest training window of B, of held-out clips")
    head += ("floor of B: distance, motion", "CPU minutes, A and B")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        name = f"**{row['candidate']}**" if row is best(rows) else row["candidate"]
        moved = f"{row['motion A']:.2f}, {row['motion B']:.2f}"
        minutes = [row[f"CPU minutes {pool}"] for pool in "AB"]
        took = "" if None in minutes else ", ".join(f"{one:.1f}" for one in minutes)
        lines.append(
            f"| {name} | {row['A']:.1f} | {row['B']:.1f} | {row['mean']:.1f} | {moved} | {row['nearest B']:.2f}"
            f" | {row['floor B']:.1f}, {row['floor motion B']:.2f} | {took} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--only", default="", help="numbers of candidates, from 0")
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        folders = {name: pool for name, (pool, _) in pools(work, SOURCE_SEED, options.minutes).items()}
        reference, _ = windows([held_out(work, *HELD_OUT)], load("demo"), options.samples)
        only = [int(number) for number in options.only.split(",") if number]
        chosen = [name for number, name in enumerate(CANDIDATES) if not only or number in only]
        rows = [tried(work, name, folders, reference, options) for name in chosen]
        told = {"seed": options.seed, "samples": options.samples, "rows": rows}
        (options.results or work / "gain_settings.json").write_text(json.dumps(told, indent=1) + "\n")
        print(table(rows))


if __name__ == "__main__":
    main()
