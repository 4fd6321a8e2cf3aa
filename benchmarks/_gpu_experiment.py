"""The curation experiment (`curation_gain.py`) at GPU size, on windows of clips that a machine with all of clipmill
installed has put into one file: the GPU needs no video decoder then.

Each pool's windows train the same network from the same first weights for the same steps with the loop of `models
train`; samples are compared with held-out windows by the Fréchet distance on the features of `mini` (no FVD).
"""

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from _gpu_bench import Bench, Skipped

from clipmill.evaluate.features.mini import Mini
from clipmill.models.autoencoder_for import autoencoder_named, frozen
from clipmill.models.autoencoders.base import VideoAutoencoder
from clipmill.models.autoencoders.statistics import fill_latent_statistics
from clipmill.models.config import ModelConfig, load
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.sampling import Generator
from clipmill.models.network import Diffusion, seeded_network
from clipmill.models.pixels import as_floats
from clipmill.models.processes import Processes
from clipmill.models.stop_signals import StopAsked
from clipmill.models.training.data.batch import VideoBatch
from clipmill.models.training.data.buckets import Bucket
from clipmill.models.training.loop import Hooks, Trainer
from clipmill.models.training.objectives.diffusion import DiffusionObjective
from clipmill.models.training.telemetry import Telemetry

NEEDS_S, SAMPLES, TRIAL_STEPS = 60, 256, 30
# In small sizes: blocks of few pixels, so that their components are found at once.
_SMALL = (
    "autoencoder.options.space_factor=16",
    "autoencoder.options.components=12",
    "backbone.options.width=64",
    "sample.steps=4",
)
# Of a pool's time: what sampling and the distance take.
_SAMPLING_SHARE = 0.25


def write_pools(path: Path, work: Path | None, minutes: float, per_clip: int) -> None:
    """The experiment's clips as windows of GPU size, without training anything here. In the file: uint8 windows of pool
    A, about 0.11 MiB each, which of them each pool has, and features of held-out windows.
    """
    from curation_gain import HELD_OUT, SIZES, SOURCE_SEED, held_out, pools

    config = load("demo", SIZES["gpu"].settings)
    with TemporaryDirectory() as folder:
        work = work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        found = pools(work, SOURCE_SEED, minutes, ("A", "B", "C", "R"))
        ids, windows = _windows(found["A"][0], config, per_clip)
        members = {name: _windows_of(folder, ids) for name, (folder, _) in found.items()}
        real = [_windows(held_out(work, *which), config, per_clip)[1] for which in HELD_OUT]
    arrays = {f"pool_{name}": chosen for name, chosen in members.items()}
    arrays |= {f"real_{number}": features(videos, torch.device("cpu")) for number, videos in enumerate(real)}
    change = np.array([change_over_time(videos) for videos in real])
    # Neighbouring frames are alike: their differences take half the room.
    np.savez_compressed(path, windows=np.diff(windows, axis=1, prepend=np.uint8(0)), change=change,
                        settings=json.dumps(SIZES["gpu"].settings), **arrays)  # fmt: skip
    print(f"{path}: {len(windows)} windows, {path.stat().st_size / 2**20:.1f} MiB")


def _windows(folder: Path, config: ModelConfig, per_clip: int) -> tuple[list[str], np.ndarray]:
    """(clip of each window, uint8 [N, T, H, W, 3]), evenly from each clip that is long enough."""
    from clipmill.curate.video.resize_to_cover import covered
    from clipmill.evaluate.sets import open_set
    from clipmill.models.settings.training import size_px

    frames, stride, size = max(config.data.frames), config.data.stride, size_px(config.data.sizes[0])
    ids, found = [], []
    for video in open_set(folder).videos:
        with video.open() as opened:
            free = len(opened.times_s()) - (frames - 1) * stride
            for start in np.unique(np.linspace(0, free - 1, per_clip).astype(int)) if free > 0 else ():
                pictures = opened.read(start + stride * np.arange(frames))
                found.append(covered(torch.from_numpy(pictures).permute(0, 3, 1, 2), *size).permute(0, 2, 3, 1).numpy())
                ids.append(video.video_id)
    return ids, np.stack(found)


def _windows_of(folder: Path, ids: list[str]) -> np.ndarray:
    """int64: which windows are of clips of this pool."""
    from clipmill.evaluate.sets import open_set

    here = {video.video_id for video in open_set(folder).videos}
    return np.array([number for number, clip in enumerate(ids) if clip in here])


def run(bench: Bench) -> None:
    if bench.pools is None:
        bench.tell(
            "inputs", {"skipped": "no --pools FILE: `gpu.py pools FILE` makes it where all of clipmill is installed"}
        )
        return
    with np.load(bench.pools) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["windows"] = np.cumsum(arrays["windows"], axis=1, dtype=np.uint8)
    names = [name.removeprefix("pool_") for name in arrays if name.startswith("pool_")]
    bench.tell("inputs", {name: len(arrays[f"pool_{name}"]) for name in names})
    config = load("demo", [*json.loads(str(arrays["settings"])), *bench.pick((), _SMALL)])
    real, change = arrays["real_0"], float(arrays["change"].mean())
    bench.tell("real, other clips", {"distance": frechet_distance(real, arrays["real_1"]), "change": 1.0})
    rows: dict[str, dict] = {}
    autoencoder = _fitted(arrays["windows"], config, bench)
    steps = bench.case(
        "steps", NEEDS_S, lambda: {"steps": _affordable_steps(arrays, names, (autoencoder, config), bench)}
    )
    for name in names if steps else ():
        measure = partial(_pool, arrays, name, (autoencoder, config), steps["steps"], (real, change), bench)
        rows[name] = bench.case(f"pool {name}", 0, measure)


def _affordable_steps(arrays, names: list[str], system, bench: Bench) -> int:
    """The same for all pools: what fits the time that is left, by a short trial."""
    trial = bench.pick(TRIAL_STEPS, 2)
    began = time.monotonic()
    _trained(arrays["windows"], system, trial, bench)
    first_s = time.monotonic() - began  # with the compiling, which each pool has again in part
    began = time.monotonic()
    _trained(arrays["windows"], system, 2 * trial, bench)
    step_s = max((time.monotonic() - began) / (2 * trial), 1e-4)
    each_s = (bench.left_s() - 10) / len(names) * (1 - _SAMPLING_SHARE)
    if not bench.full:
        return 4
    if each_s < first_s:
        raise Skipped(
            f"{bench.left_s():.0f} s are left for {len(names)} pools, and compiling alone takes {first_s:.0f} s"
        )
    return int((each_s - first_s / 2) / step_s)


def _pool(arrays, name: str, system, steps: int, reference, bench: Bench) -> dict:
    """reference: features of real windows, and their change over time."""
    (_, config), (real, change) = system, reference
    windows = arrays["windows"][arrays[f"pool_{name}"]]
    objective, trainer, lines = _trained(windows, system, steps, bench)
    count = bench.pick(SAMPLES, 4)
    generator = Generator(
        objective.network, objective.autoencoder, Diffusion(config), config.sample, bench.device, trainer.bf16
    )
    frames, height, width = windows.shape[1:4]
    grid = objective.autoencoder.latent_grid((frames, height, width))
    conditions = objective.network.conditioner.conditions(("",) * count, {}, (None,) * count)
    with trainer.evaluating(trainer.averages[0]):
        made = generator.videos(grid, conditions, SampleNoise(config.train.seed, range(count)))
    videos = made.permute(0, 1, 3, 4, 2).numpy()
    known = features(windows, bench.device)
    return {
        "windows": len(windows),
        "steps": steps,
        "loss": lines[-1]["loss"],
        "step_s": lines[-1]["step_s"],
        "distance": frechet_distance(real, features(videos, bench.device)),
        "training_windows": frechet_distance(real, known),
        "change": change_over_time(videos) / change,
    }


def _fitted(windows: np.ndarray, config: ModelConfig, bench: Bench) -> VideoAutoencoder:
    """The latents of all pools: pixels, measured on windows of A once."""
    autoencoder = autoencoder_named(config.autoencoder.kind, config.autoencoder.options)
    videos = [as_floats(torch.from_numpy(video).permute(0, 3, 1, 2)[None]) for video in windows[:256]]
    autoencoder.measure(videos)
    fill_latent_statistics(autoencoder, videos)
    return frozen(autoencoder, bench.device)


def _trained(windows: np.ndarray, system: tuple[VideoAutoencoder, ModelConfig], steps: int, bench: Bench):
    """(objective, trainer, lines of the log) of one training by the loop of `models train`."""
    autoencoder, config = system
    own = replace(config.train, steps=steps, minutes=None, validate_every=0, checkpoint_every=0, preview_every=0,
                  log_every=max(1, steps // 10), warm_up=min(config.train.warm_up, steps // 10),
                  compile="auto" if bench.full else "off")  # fmt: skip
    config = replace(config, train=own)
    objective = DiffusionObjective(config, seeded_network(config, autoencoder), autoencoder, bench.device)
    frames, height, width = windows.shape[1:4]
    bucket = Bucket(frames, height, width, 8.0, tuple(range(len(windows))), bench.pick(config.data.batch, 4))
    lines: list[dict] = []
    with TemporaryDirectory() as folder:
        telemetry = Telemetry(Path(folder) / "log.jsonl", bench.device, write=False)
        trainer = Trainer(objective, own, Processes(0, 1, bench.device), (bucket,), telemetry)
        trainer.run(_batches(windows, bucket.batch, own.seed), Hooks(lines.append, *([lambda: None] * 4)), StopAsked())
    return objective, trainer, lines


def _batches(windows: np.ndarray, batch: int, seed: int):
    """Windows at random, without end."""
    rng, first = np.random.default_rng(seed), 0
    while True:
        chosen = torch.from_numpy(windows[rng.integers(len(windows), size=batch)]).permute(0, 1, 4, 2, 3)
        yield VideoBatch(0, batch, tuple(range(first, first + batch)), ("",) * batch, chosen.contiguous(), None,
                         ("",) * batch, {}, (None,) * batch)  # fmt: skip
        first += batch


@torch.no_grad()
def features(videos: np.ndarray, device: torch.device) -> np.ndarray:
    """uint8 [N, T, 64, 64, 3] -> float32 [N, 128] of `mini`."""
    network = Mini(str(device))
    parts = torch.from_numpy(videos).permute(0, 1, 4, 2, 3).split(32)
    return np.concatenate([network(as_floats(part.to(device))).cpu().numpy() for part in parts])


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Of features float [N, D] as `evaluate` has it, which needs SciPy; here by torch in double precision."""
    (mean, cov), (other_mean, other_cov) = (
        (torch.from_numpy(x.mean(0)), torch.from_numpy(np.cov(x, rowvar=False)))
        for x in map(np.float64, (first, second))
    )
    values, vectors = torch.linalg.eigh(cov)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    crossed = torch.linalg.eigvalsh(root @ other_cov @ root).clamp_min(0).sqrt().sum()
    return float((mean - other_mean).square().sum() + cov.trace() + other_cov.trace() - 2 * crossed)


def change_over_time(videos: np.ndarray) -> float:
    """Root mean square of the difference from frame to frame, of 0 to 255."""
    return float(np.sqrt(np.mean([np.square(np.diff(video.astype(np.float32), axis=0)).mean() for video in videos])))
