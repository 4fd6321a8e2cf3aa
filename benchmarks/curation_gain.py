"""Is the same model, trained with the same compute, better on curated data? The claim of the SVD paper, on the demo
videos.

    python benchmarks/curation_gain.py [--work DIR] [--minutes 12] [--steps N] [--seeds 0,1,2] [--samples 256]
                                       [--pools A,B,C,R] [--size cpu|window|gpu] [--at-once N] [--results FILE]

Pools of one run, one export: A, every clip (about half carry a planted defect); B, A after the default policy; C, the
clips that the demo's truth calls clean; R, as many clips of A as B has, drawn at random: is it cleanliness, or only
fewer clips for the same steps? Each trains the same network for the same steps with the same seeds, on latents that
were found once for all of them, in every clip of another seed. Samples are compared with held-out clean clips of other
demo seeds by a Fréchet distance on the features of `mini` (no FVD), by mean motion, by the share that curate's own
annotators find defective, and by how far they are from the nearest window they were trained on; training windows that
went through the latents and back are the floor. With --work everything is kept there, and what is there is not made
again. --size: cpu is the network that `gain_settings.py` chose; window one with a token for a whole window, which takes
a fourth of the time and learns windows by heart. --at-once: trainings side by side. Prints Markdown tables, and writes
the figures of each set and training to FILE (DIR/curation_gain.json); minutes and CPU minutes, of all calls with one
DIR, are among them.
"""

import argparse
import json
import resource
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _networks import CANDIDATES, CHOSEN, WINDOW
from _pools import clean_clips, everything_policy, write_pool
from demo_training import baselines, command, features, floor, motion, nearest_to, samples, windows

from clipmill.evaluate.distances.error_bar import leave_groups_out
from clipmill.evaluate.distances.frechet import frechet_distance
from clipmill.models.autoencoder_for import autoencoder_named
from clipmill.models.autoencoders.saving import save_autoencoder
from clipmill.models.autoencoders.statistics import fill_latent_statistics
from clipmill.models.config import load
from clipmill.models.generate.files import write_mp4
from clipmill.models.pixels import as_floats

# Of demo videos; (seed, minutes). None of them was seen by gain_settings.py, which chose the network.
SOURCE_SEED, HELD_OUT = 20, ((21, 6), (22, 6))
# What can be judged on 32 px and one second: the picture stands still, is black, flickers, or repeats frames.
JUDGED = ("motion", "near_black", "flicker", "dup_frame_share")
_JUDGED_VIDEOS = 96
# Of the latents: (seed, minutes).
LATENTS, _FITTED_TO = (30, 6), 1024
_GPU = (
    "data.sizes=['64x64']",
    "data.frames=[16]",
    "backbone.options.width=512",
    "backbone.options.depth=12",
    "train.steps=1000",
)


@dataclass(frozen=True)
class Size:
    """settings: over those of the preset demo. at_once: trainings side by side. threads: of each, None for one per
    core.
    """

    settings: tuple[str, ...]
    device: str
    at_once: int
    threads: int | None


SIZES = {
    # Of networks so small, two trainings with a thread each are done before one with two threads after the other.
    "cpu": Size(CANDIDATES[CHOSEN], "cpu", 2, 1),
    "window": Size(CANDIDATES[WINDOW], "cpu", 2, 1),
    "gpu": Size((*_GPU, "backbone.options.plans=['spatial','temporal']"), "cuda", 1, None),
}
REAL, THROUGH = "real, other clips", "through the latents"
# What is asked of the samples of B, of what real clips have: they move, and are not the training windows again.
MOTION, NEAREST = 0.7, 0.6
# The distance of A when tokens were frames of 64 components.
BEFORE = 19.5
TITLES = {
    "A": "A, every clip",
    "B": "B, A after the default policy",
    "C": "C, clean by the truth",
    "R": "R, as many of A as B, at random",
}


def rendered(work, seed, minutes):
    """The folder of the demo videos of a seed."""
    videos = work / f"videos{seed}"
    if not (videos / "truth.parquet").is_file():
        command("clipmill.curate.cli", "demo", videos, "--minutes", minutes, "--seed", seed)
    return videos


def source(work, seed, minutes):
    """A demo run of which every clip is exported; decisions/default.parquet has what the default policy says."""
    videos, run = rendered(work, seed, minutes), work / f"run{seed}"
    if not (run / "shards.parquet").is_file():
        command("clipmill.curate.cli", "run", videos, "--out", run, "--no-export", "--set", "export.split={train=1.0}")
        policy = everything_policy(work / "everything.toml")
        command("clipmill.curate.cli", "filter", run, "--policy", policy, "--name", "everything")
        command("clipmill.curate.cli", "export", run)
    return videos, run


def exported(run):
    """Ids of the clips that are in the run's shards."""
    manifest = pd.read_parquet(run / "manifest.parquet")
    return set(manifest.loc[manifest["shard"].notna(), "clip_id"])


def pools(work, seed, minutes, names=("A", "B")):
    """Pool -> (folder, facts)."""
    videos, run = source(work, seed, minutes)
    every, clean = exported(run), clean_clips(videos, run)
    decided = pd.read_parquet(run / "decisions" / "default.parquet")
    kept = set(decided.loc[decided["keep"].fillna(False).astype(bool), "clip_id"]) & every
    order = np.random.default_rng(seed).permutation(sorted(every))
    chosen = {"A": every, "B": kept, "C": clean & every, "R": set(order[: len(kept)])}
    found = {}
    for name in names:
        facts = write_pool(work / f"pool-{name}", run, chosen[name])
        facts["clean_share"] = len(chosen[name] & clean) / len(chosen[name])
        found[name] = (work / f"pool-{name}", facts)
    return found


def latents(work, settings, name="latents"):
    """The file of the components that all pools share, and of their scale: found in windows of every clip of a seed of
    its own, defective ones as well.
    """
    path = work / f"{name}.safetensors"
    if not path.is_file():
        config, (_, run) = load("demo", settings), source(work, *LATENTS)
        write_pool(work / "latents-clips", run, exported(run))
        found, _ = windows([work / "latents-clips"], config, _FITTED_TO)
        videos = list(as_floats(torch.from_numpy(found).permute(0, 1, 4, 2, 3)).split(64))
        autoencoder = autoencoder_named(config.autoencoder.kind, config.autoencoder.options)
        autoencoder.measure(videos)
        fill_latent_statistics(autoencoder, videos)
        save_autoencoder(path, autoencoder)
    return path


def held_out(work, seed, minutes):
    """A folder of the clean clips of another demo seed."""
    videos, run = source(work, seed, minutes)
    write_pool(work / f"held-out{seed}", run, clean_clips(videos, run))
    return work / f"held-out{seed}"


def judged(work, name, videos, fps=8.0):
    """Share of the videos that curate's own annotators find defective, by the real command."""
    folder, run = (work / "judged" / name.replace(" ", "-").replace(",", "") / part for part in ("videos", "run"))
    if not (run / "manifest.parquet").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        for i, video in enumerate(videos[:_JUDGED_VIDEOS]):
            write_mp4(folder / f"{i:04d}.mp4", torch.from_numpy(video).permute(0, 3, 1, 2), fps)
        off = [f"policy.{column}=off" for column in ("text_area", "sharpness", "blockiness", "dup_rank", "duration_s")]
        sets = [*off, "annotators=['motion','quality']", "scenes.min_length_s=0.4", "scenes.detector=cascade"]
        command(
            "clipmill.curate.cli",
            "run",
            folder,
            "--out",
            run,
            "--no-export",
            *(word for text in sets for word in ("--set", text)),
        )
    failed = (
        pd.read_parquet(run / "manifest.parquet")
        .groupby("relpath")["failed_filters"]
        .agg(lambda lists: sum(map(len, lists)))
    )
    return float((failed > 0).sum() / min(len(videos), _JUDGED_VIDEOS))


def steps_of(options):
    """Of each training."""
    return options.steps or load("demo", SIZES[options.size].settings).train.steps


def train_all(work, chosen, options):
    """Train, sample and judge (folder, name, seed) each, as many at once as the machine does best."""
    size = SIZES[options.size]
    shared = f"autoencoder.weights={latents(work, size.settings)}"
    settings = (*size.settings, shared, f"train.steps={steps_of(options)}")

    def one(pool, name, seed):
        train(work, pool, name, seed, size, settings, options.samples)
        judged(work, f"samples {name} {seed}", samples(sampled(work, name, seed)))

    with ThreadPoolExecutor(options.at_once or size.at_once) as trainers:
        list(trainers.map(lambda which: one(*which), chosen))


def train(work, pool, name, seed, size, settings, count):
    """One training and `count` samples of it, by the real commands."""
    checkpoint, out = work / f"checkpoint-{name}{seed}", sampled(work, name, seed)
    chosen = [f"train.seed={seed}", "train.validate_every=0", *settings]
    sets = [word for text in chosen for word in ("--set", text)]
    device, threads = ("--device", size.device), {"OMP_NUM_THREADS": str(size.threads)} if size.threads else {}
    if not (out / "manifest.parquet").is_file():
        # Pools go by turns, so no two trainings of one pool fill its latents at once.
        cache = ("--cache", work / f"latents-{name}")
        command(
            "clipmill.models.cli",
            "train",
            pool,
            "--config",
            "demo",
            "--out",
            checkpoint,
            *cache,
            *device,
            *sets,
            **threads,
        )
        batch = ("--set", "sample.batch=64", *device)
        command(
            "clipmill.models.cli", "sample", checkpoint, "--out", out, "--n", count, "--seed", seed, *batch, **threads
        )


def sampled(work, name, seed):
    """Where the samples of a training lie."""
    return work / f"samples-{name}{seed}"


def row(work, name, videos, real, real_motion):
    """One line of results."""
    found = features(videos)
    error = leave_groups_out(real, found)
    return {
        "set": name,
        "distance": frechet_distance(real, found),
        "standard_error": error.standard_error,
        "motion": motion(videos) / real_motion,
        "defective": judged(work, name, videos),
    }


def measured(work, options):
    """All results: facts of the pools and a row per set and seed."""
    config = load("demo", SIZES[options.size].settings)
    with ThreadPoolExecutor(options.at_once or 2) as renderers:  # each renders on one core
        list(renderers.map(lambda which: rendered(work, *which), ((SOURCE_SEED, options.minutes), LATENTS, *HELD_OUT)))
    found = pools(work, SOURCE_SEED, options.minutes, options.pools.split(","))
    seeds = [int(seed) for seed in options.seeds.split(",")]
    chosen = [(folder, name, seed) for seed in seeds for name, (folder, _) in found.items()]
    with ThreadPoolExecutor(1) as beside:
        trainings = beside.submit(train_all, work, chosen, options)
        if options.at_once == 1:
            trainings.result()
        first, second = (held_out(work, *which) for which in HELD_OUT)
        reference, _ = windows([first], config, options.samples)
        other, _ = windows([second], config, options.samples)
        real, real_motion = features(reference), motion(np.concatenate([reference, other]))
        rows = [
            row(work, name, videos, real, real_motion)
            for name, videos in baselines(other, np.random.default_rng(0)).items()
        ]
        for name, (folder, _) in found.items():
            known, _ = windows([folder], config, options.samples)
            rows.append(row(work, f"training windows {name}", known, real, real_motion))
        trainings.result()
    for name in found:
        again, known = floor(work / f"checkpoint-{name}{seeds[0]}", work / f"floor-{name}", options.samples)
        through = f"training windows {name} {THROUGH}"
        rows.append(row(work, through, again, real, real_motion) | {"nearest": nearest_to(known, again)})
        found[name][1]["held_out_nearest"] = nearest_to(known, other)
        for seed in seeds:
            made = samples(sampled(work, name, seed))
            facts = {"pool": name, "seed": seed, "nearest": nearest_to(known, made)}
            rows.append(row(work, f"samples {name} {seed}", made, real, real_motion) | facts)
    facts = {name: facts for name, (_, facts) in found.items()}
    return {"steps": steps_of(options), "samples": options.samples, "size": options.size, "pools": facts, "rows": rows}


def table(results):
    """Markdown."""
    head = ("set", "clips", "Fréchet distance (mini), mean of seeds", "seeds", "motion, of real", "found defective")
    head += ("nearest training window, of held-out clips",)
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    rows = pd.DataFrame(results["rows"])
    for name, facts in results["pools"].items():
        one = rows[rows["pool"] == name]
        each = ", ".join(f"{value:.1f}" for value in one["distance"])
        spread = one["distance"].std(ddof=1) if len(one) > 1 else float("nan")
        clips = f"{facts['clips']} ({100 * facts['clean_share']:.0f} % clean)"
        distance = f"{one['distance'].mean():.1f} ± {spread:.1f} | {each}"
        judged_as = f"{one['motion'].mean():.2f} | {100 * one['defective'].mean():.0f} % | {_near(one, facts):.2f}"
        lines.append(f"| **{TITLES[name]}** | {clips} | {distance} | {judged_as} |")
    for one in rows[rows["pool"].isna()].itertuples():
        near = ""
        if one.set.endswith(THROUGH):
            near = f"{one.nearest / results['pools'][one.set.split()[2]]['held_out_nearest']:.2f}"
        lines.append(
            f"| {one.set} | | {one.distance:.1f} | | {one.motion:.2f} | {100 * one.defective:.0f} % | {near} |"
        )
    return "\n".join([*lines, "", *differences(rows), "", *bars(results, rows)])


def _near(rows, facts):
    """How far samples are from the nearest training window, over how far held-out clips are."""
    return rows["nearest"].mean() / facts["held_out_nearest"]


def differences(rows):
    """A line: how much farther than B the other pools are, in units of the spread over seeds, pooled over all pools."""
    by_seed = rows.dropna(subset="pool").pivot_table(index="seed", columns="pool", values="distance")
    if len(by_seed) < 2:
        return []
    spread = float(np.sqrt(by_seed.var(ddof=1).mean()))
    away = by_seed.drop(columns="B").sub(by_seed["B"], axis=0).mean()
    told = ", ".join(f"{name} - B = {value:.2f} ({value / spread:.1f} times)" for name, value in away.items())
    return [f"Pooled spread over seeds {spread:.2f}; {told}."]


def bars(results, rows):
    """A table: what is asked of an instrument with which A and B are judged, and what was found."""
    mean = rows.dropna(subset="pool").groupby("pool")[["distance", "motion"]].mean()
    sets = rows.set_index("set")["distance"]
    gap, lost = mean["distance"]["A"] - mean["distance"]["B"], sets[f"training windows B {THROUGH}"] - sets[REAL]
    near = _near(rows[rows["pool"] == "B"], results["pools"]["B"])
    asked = (
        ("motion of B, of real", mean["motion"]["B"], ">=", MOTION),
        ("nearest training window of B, of held-out clips", near, ">=", NEAREST),
        ("floor of B - real against real, of A - B", lost / gap if gap > 0 else float("inf"), "<=", 0.25),
        ("distance of A, not worse than on latents of single frames", mean["distance"]["A"], "<=", BEFORE),
    )
    lines = ["| asked | bar | found | holds |", "|---|---|---|---|"]
    for what, found, side, bar in asked:
        holds = found >= bar if side == ">=" else found <= bar
        lines.append(f"| {what} | {side} {bar:g} | {found:.2f} | {'yes' if holds else 'no'} |")
    spent = results.get("spent", {})
    took = ", ".join(f"{value:.0f} {name}" for name, value in spent.items())
    return [*lines, "", f"Rendering, curation, training and judging took {took}."] if spent else lines


@contextmanager
def ledger(work):
    """Adds what a call takes to what earlier ones with this folder took, however it ends. DIR/spent.json: minutes."""
    path, began = work / "spent.json", time.monotonic()
    before = json.loads(path.read_text()) if path.is_file() else {"minutes": 0.0, "CPU minutes": 0.0}
    spent = dict(before)
    try:
        yield lambda: _add(spent, before, began)
    finally:
        path.write_text(json.dumps(_add(spent, before, began)) + "\n")


def _add(spent, before, began):
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(one.ru_utime + one.ru_stime for one in used)
    spent["minutes"] = before["minutes"] + (time.monotonic() - began) / 60
    spent["CPU minutes"] = before["CPU minutes"] + cpu_s / 60
    return spent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--pools", default="A,B,C,R")
    parser.add_argument("--size", choices=SIZES, default="cpu")
    parser.add_argument("--at-once", type=int)
    parser.add_argument("--results", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        with ledger(work) as spent:
            results = measured(work, options)
            results["spent"] = dict(spent())
        (options.results or work / "curation_gain.json").write_text(json.dumps(results, indent=1) + "\n")
        print(f"{results['steps']} steps each, {results['samples']} samples\n\n{table(results)}")


if __name__ == "__main__":
    main()
