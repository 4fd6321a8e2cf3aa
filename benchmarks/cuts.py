"""Cut detection on labelled real videos: accuracy and time of every detector, as a Markdown table.

    python benchmarks/cuts.py [--videos FOLDER] [--checks FOLDER] [--runs 3] [--sweep] [--mistakes]

Every detector gets its own pass over the files in two fresh processes, decoding and loading the network included,
through the product's own reader; PySceneDetect runs with its defaults in the same call. Times are medians of the runs.
Labels and the scoring rule (tolerance 2 frames, one boundary inside a gradual transition finds it) come from
`cut_score.py` beside the videos. --sweep moves each threshold by a fifth either way and prints F1 on the stored curves.
"""

import argparse
import dataclasses
import importlib.util
import multiprocessing
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from clipmill.curate import scenes
from clipmill.curate.errors import DecodeError
from clipmill.curate.scenes.curves import CurveBuilder
from clipmill.curate.settings.scenes import ScenesConfig
from clipmill.curate.video.other_decoders import open_frames

OURS = ("cascade", "fused", "transnetv2")
THEIRS = ("PySceneDetect Adaptive", "PySceneDetect Content")
PROCESSES = 2
TOLERANCE = 2
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
STEPS = (0.8, 0.9, 1.0, 1.1, 1.25)


@dataclass
class Found:
    """What one detector gave for one file. frames: its boundaries; seen: frames that went through the network."""

    file: str
    n: int
    frames: list[int]
    seen: int = 0
    stored: tuple[dict[str, np.ndarray], np.ndarray] | None = None


_worker: dict[str, Any] = {}


def start_worker(detector: str) -> None:
    """One thread per process, as in the product's workers."""
    import cv2

    cv2.setNumThreads(1)
    _worker["network"] = None
    if detector in ("fused", "transnetv2"):
        import torch

        from clipmill.curate.scenes.transnet import WindowNetwork

        torch.set_num_threads(1)
        _worker["network"] = WindowNetwork("cpu")


def run_ours(task: tuple[str, Path]) -> Found:
    """Decode one file and cut it."""
    detector, path = task
    config, network = ScenesConfig(detector=detector), _worker["network"]
    builder, thumbs, pts = CurveBuilder(config), [], []
    try:
        with open_frames(path) as source:
            unit_s = float(source.info.time_base)
            for frame in source:
                luma, rgb = frame.small()
                builder.push(luma, rgb)
                thumbs.append(rgb)
                pts.append(frame.pts)
    except DecodeError:
        return Found(path.name, 0, [])
    before = network.frames_seen if network else 0
    curves, t_s = builder.finish(), (np.asarray(pts) - pts[0]) * unit_s
    found, looked = scenes.detect(curves, t_s, config, lambda a, b: np.stack(thumbs[a:b]), network)
    seen = network.frames_seen - before if network else 0
    stored = curves if looked is None else curves | {"network": looked}
    return Found(path.name, len(pts), [t.frame for t in found], seen, (stored, t_s))


def run_theirs(task: tuple[str, Path]) -> Found:
    """PySceneDetect's own pipeline with its defaults."""
    import scenedetect

    detector, path = task
    kind = scenedetect.AdaptiveDetector if detector.endswith("Adaptive") else scenedetect.ContentDetector
    try:
        found = scenedetect.detect(str(path), kind())
    except Exception:  # its errors are of many kinds; a file it cannot read has no cuts
        return Found(path.name, 0, [])
    return Found(path.name, found[-1][1].frame_num if found else 0, [start.frame_num for start, _ in found[1:]])


def one_pass(detector: str, files: list[Path]) -> tuple[list[Found], float]:
    """All files in two fresh processes; wall seconds, start of the processes included."""
    began = time.perf_counter()
    work = run_ours if detector in OURS else run_theirs
    with multiprocessing.get_context("spawn").Pool(PROCESSES, start_worker, (detector,)) as pool:
        found = list(pool.imap_unordered(work, [(detector, f) for f in files]))
    return found, time.perf_counter() - began


def scorer(folder: Path) -> ModuleType:
    """The module `cut_score.py`, imported by path."""
    spec = importlib.util.spec_from_file_location("cut_score", folder / "cut_score.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"no cut_score.py in {folder}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(detector: str, result: dict, seconds: float, base_s: float, share: float | None) -> str:
    """One line of the table."""
    hard, gradual = result["found_of_hard"], result["found_of_gradual"]
    cells = [
        detector,
        *(f"{result[k]:.3f}" for k in ("precision", "recall", "f1")),
        f"{hard[0]}/{hard[1]}",
        f"{gradual[0]}/{gradual[1]}",
        f"{seconds:.1f}",
        f"{seconds / base_s:.2f}",
        "" if share is None else f"{share:.1%}",
    ]
    return "| " + " | ".join(cells) + " |"


def mistakes(found: list[Found], truth: dict) -> None:
    """Every certain boundary that was missed and every false one, for people."""
    for f in sorted(found, key=lambda f: f.file):
        left = sorted(f.frames)
        for start, end, kind, certain in sorted(truth.get(f.file, [])):
            hit = next((i for i in left if start - TOLERANCE <= i <= end + TOLERANCE), None)
            if hit is not None:
                left.remove(hit)
            elif certain:
                print(f"  missed {f.file} {kind} {start}-{end}")
        if f.file in truth and left:
            print(f"  false {f.file} {left}")


def sweep(found: list[Found], detector: str, truth: dict, module: ModuleType) -> None:
    """F1 with each threshold moved, decided again on the stored curves."""
    print(
        f"\nF1 of {detector} with one threshold moved\n\n| threshold | " + " | ".join(f"x {s:g}" for s in STEPS) + " |"
    )
    print("|---" * (len(STEPS) + 1) + "|")
    base = ScenesConfig(detector=detector)
    skipped = {"min_length_s", "max_length_s", "guard_s"}
    for field in dataclasses.fields(base):
        value = getattr(base, field.name)
        if not isinstance(value, float) or field.name in skipped:
            continue
        scores = []
        for step in STEPS:
            config = dataclasses.replace(base, **{field.name: value * step})
            again = {f.file: [t.frame for t in scenes.detect(*f.stored, config)[0]] for f in found if f.stored}
            scores.append(module.score(truth, again)["f1"])
        print(f"| {field.name} = {value:g} | " + " | ".join(f"{s:.3f}" for s in scores) + " |", flush=True)


def main() -> None:
    """Run all detectors and print the tables."""
    shared = Path(__file__).resolve().parents[2] / "shared"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, default=shared / "videos" / "dev")
    parser.add_argument("--checks", type=Path, default=shared / "checks")
    parser.add_argument("--detectors", nargs="+", choices=OURS + THEIRS, default=OURS + THEIRS)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--mistakes", action="store_true", help="list what was missed and what was false")
    args = parser.parse_args()
    os.environ.update(ONE_THREAD)
    module = scorer(args.checks)
    truth = module.labels(args.videos.name)
    files = sorted((f for f in args.videos.iterdir() if f.is_file()), key=lambda f: -f.stat().st_size)
    print(
        "| detector | precision | recall | F1 | hard | gradual | seconds | time, cascade = 1 | frames through the"
        " network |"
    )
    print("|---" * 9 + "|")
    base_s, kept = None, {}
    for detector in args.detectors:
        runs = [one_pass(detector, files) for _ in range(args.runs)]
        found, seconds = runs[0][0], statistics.median(s for _, s in runs)
        base_s, kept[detector] = base_s or seconds, found
        result = module.score(truth, {f.file: f.frames for f in found})
        frames = sum(f.n for f in found)
        share = sum(f.seen for f in found) / max(frames, 1) if detector in ("fused", "transnetv2") else None
        print(row(detector, result, seconds, base_s, share), flush=True)
        if args.mistakes:
            mistakes(found, truth)
    for detector in [d for d in args.detectors if args.sweep and d in ("cascade", "fused")]:
        sweep(kept[detector], detector, truth, module)


if __name__ == "__main__":
    main()
