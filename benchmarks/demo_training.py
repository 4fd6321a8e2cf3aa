"""Does the preset `demo` learn the demo videos in three minutes on two cores? Fréchet distance on the offline features,
and motion.

    python benchmarks/demo_training.py [--minutes 3] [--seeds 0,1,2] [--samples 256] [--work DIR] [--set data.batch=32
    ...]

Trains on the kept clips of `curate demo --minutes 3`, as `make demo` makes them, and compares samples with kept clips
of other demo seeds, which share no scene with them. The distance is on the features of `mini` and is no FVD. Beside it
stand sets that know the frames but not their order (static copies, shuffled frames, frames of different clips), noise,
the training windows themselves, and these through the latents and back, with no network between: the floor. Nearest:
median root mean square difference to the nearest training window, pixels in [-1, 1]. Motion: mean optical flow from
frame to frame, px of a 32 px picture. With --work everything is kept there, and what is there is not made again.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from clipmill.curate.errors import DecodeError
from clipmill.curate.video.resize_to_cover import covered
from clipmill.evaluate.distances.frechet import frechet_distance
from clipmill.evaluate.features import network_class
from clipmill.evaluate.frames.protocol import load as load_protocol
from clipmill.evaluate.frames.resize import preprocess
from clipmill.evaluate.metrics.dynamic_degree import DynamicDegree
from clipmill.evaluate.metrics.nearest import nearest
from clipmill.evaluate.sets import open_set
from clipmill.models.config import load
from clipmill.models.core.keyed import keyed_rng
from clipmill.models.settings.training import size_px

TRAIN, HELD_OUT = (0, 3), ((2, 6), (3, 6))  # (seed, minutes) of demo videos


def command(module, *arguments, **environment):
    words = [sys.executable, "-m", module, *map(str, arguments)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env=os.environ | environment)


def curated(work, seed, minutes):
    """A curated run of the demo videos of a seed."""
    run, videos = work / f"run{seed}", work / f"videos{seed}"
    if not (run / "manifest.parquet").is_file():
        command("clipmill.curate.cli", "demo", videos, "--minutes", minutes, "--seed", seed)
        command("clipmill.curate.cli", "run", videos, "--out", run)
    return run


def windows(runs, config, count, where=None):
    """uint8 [count, T, H, W, 3] of kept clips, equally many of each."""
    frames, stride, size = max(config.data.frames), config.data.stride, size_px(config.data.sizes[0])
    videos = [video for run in runs for video in open_set(run, where).videos]
    per_clip, found = -(-count // len(videos)), []
    for video in videos:
        with video.open() as opened:
            free = len(opened.times_s()) - (frames - 1) * stride
            for number in range(per_clip if free > 0 else 0):
                start = int(keyed_rng(0, "benchmark", video.video_id, number).integers(free))
                try:
                    pictures = opened.read(np.arange(start, start + (frames - 1) * stride + 1, stride))
                except DecodeError:
                    break
                found.append(covered(torch.from_numpy(pictures).permute(0, 3, 1, 2), *size).permute(0, 2, 3, 1).numpy())
    order = np.random.default_rng(0).permutation(len(found))
    return np.stack([found[i] for i in order[:count]]), len(videos)


def samples(folder):
    """uint8 [N, T, H, W, 3] of what `models sample` wrote."""
    found = []
    for video in open_set(folder).videos:
        with video.open() as opened:
            found.append(opened.read(np.arange(len(opened.times_s()))))
    return np.stack(found)


def features(videos):
    network = network_class("mini")()
    protocol = load_protocol("clipmill", {"features": "mini"})
    with torch.no_grad():
        return np.concatenate([network(preprocess(video, protocol, network.side_px)[None]).numpy() for video in videos])


def motion(videos, fps=8.0):
    """Mean flow, px per frame."""
    degree = DynamicDegree(interval_s=1 / fps)
    return float(np.nanmean([degree(video, fps) for video in videos])) / fps * min(videos.shape[2:4])


def floor(checkpoint, out, count):
    """(training windows through the latents and back, every training window), uint8 [N, T, H, W, 3]."""
    if not out.exists():
        command("clipmill.models.cli", "floor", checkpoint, "--out", out, "--n", count)
    return samples(out / "latents"), np.load(out / "trained.npy")


def nearest_to(trained_on, videos):
    """Median over the videos; both of one size."""
    flat = [array.reshape(len(array), -1).astype(np.float32) / 127.5 for array in (trained_on, videos)]
    return float(np.median(nearest(*flat)))


def baselines(other, rng):
    """Sets made of held-out clips that are not the reference."""
    frames = other.shape[1]
    mixed = other[rng.permuted(np.tile(np.arange(len(other))[:, None], frames), axis=0), np.arange(frames)]
    return {
        "real, other clips": other,
        "static copies": np.repeat(other[:, :1], frames, axis=1),
        "shuffled frames": np.stack([video[rng.permutation(frames)] for video in other]),
        "frames of different clips": mixed,
        "noise": rng.integers(0, 256, other.shape, dtype=np.uint8),
    }


def trained(work, run, seed, minutes, count, overrides, config):
    """(samples, first and last logged loss, steps) of one training."""
    checkpoint, out = work / f"checkpoint{seed}", work / f"samples{seed}"
    sets = [part for text in overrides for part in ("--set", text)]
    time_limit = ("--set", f"train.minutes={minutes}", "--set", f"train.seed={seed}")
    if not out.exists():
        command(
            "clipmill.models.cli",
            "train",
            run,
            "--config",
            "demo",
            "--out",
            checkpoint,
            "--device",
            "cpu",
            *time_limit,
            *sets,
        )
        batch = ("--set", "sample.batch=64", "--device", "cpu")
        command("clipmill.models.cli", "sample", checkpoint, "--out", out, "--n", count, "--seed", seed, *batch)
    rows = [json.loads(line) for line in (checkpoint / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    return samples(out), losses[0], float(np.mean(losses[-5:])), rows[-1]["step"], checkpoint


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        config = load("demo", options.set)
        train_run, first, second = (curated(work, *which) for which in (TRAIN, *HELD_OUT))
        reference, n_reference = windows([first], config, options.samples)
        other, n_other = windows([second], config, options.samples)
        known, n_known = windows([train_run], config, options.samples, "split = 'train'")
        print(
            f"{options.samples} windows each; reference of {n_reference} clips, other real of {n_other}, training set"
            f" of {n_known}\n"
        )
        print("| set | Fréchet distance (mini) | mean step, px | of real | nearest |\n|---|---|---|---|---|")
        real, real_motion = features(reference), motion(np.concatenate([reference, other]))
        sets = baselines(other, np.random.default_rng(0)) | {"training windows": known}
        for name, videos in sets.items():
            print(row(name, frechet_distance(real, features(videos)), motion(videos), real_motion), flush=True)
        for seed in map(int, options.seeds.split(",")):
            made, first, last, steps, checkpoint = trained(
                work, train_run, seed, options.minutes, options.samples, options.set, config
            )
            name = (
                f"**samples**, seed {seed}: {steps} steps, loss {first:.2f} to {last:.2f} ({100 * last / first:.0f} %)"
            )
            again, trained_on = floor(checkpoint, work / f"floor{seed}", options.samples)
            for title, videos in ((name, made), (f"training windows through the latents, seed {seed}", again)):
                near = nearest_to(trained_on, videos)
                print(
                    row(title, frechet_distance(real, features(videos)), motion(videos), real_motion, near), flush=True
                )
        near = nearest_to(trained_on, other)
        print(
            row("real, other clips, again", frechet_distance(real, features(other)), motion(other), real_motion, near)
        )


def row(name, distance, moved, real, near=None):
    return f"| {name} | {distance:.1f} | {moved:.2f} | {moved / real:.2f} | {'' if near is None else f'{near:.3f}'} |"


if __name__ == "__main__":
    main()
