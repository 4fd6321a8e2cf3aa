"""Speed of `curate run` against bare decode and PySceneDetect, same files, same run, two processes each.

    python benchmarks/speed.py VIDEOS [--repeats 3]

Every contestant runs once per round, in turn, so that a machine whose speed drifts treats them alike; the table shows
medians of seconds and of the ratios within a round.
"""

import argparse
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORKERS = 2
CHEAP = ["borders", "motion", "quality"]
VARIANTS = {
    "curate: cascade, motion, quality, borders": ("cascade", CHEAP),
    "curate: fused, motion, quality, borders": ("fused", CHEAP),
    "curate: fused, motion, quality, borders, text": ("fused", [*CHEAP, "text"]),
}


def bare_decode(path):
    """Frames of one file, decoded by PyAV in one thread and thrown away."""
    import av

    frames = 0
    try:
        with av.open(path) as container:
            stream = container.streams.video[0]
            stream.thread_type, stream.codec_context.thread_count = "NONE", 1
            for _ in container.decode(stream):
                frames += 1
    except (av.error.FFmpegError, IndexError):
        pass
    return frames


def detect_adaptive(path):
    """PySceneDetect's own loop with its own reader."""
    import scenedetect

    try:
        return len(scenedetect.detect(path, scenedetect.AdaptiveDetector()))
    except Exception:
        return 0


def pooled(function, files):
    """Wall seconds and the sum of results of `function` over files in two processes."""
    began = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        total = sum(pool.imap_unordered(function, files))
    return time.perf_counter() - began, total


def curate(videos, detector, annotators):
    """Wall seconds of the whole command, and its run.json."""
    with tempfile.TemporaryDirectory() as out:
        sets = [f"scenes.detector={detector}", f"annotators={annotators}"]
        sets += [] if "text" in annotators else ["policy.text_area=off"]
        command = [
            sys.executable,
            "-m",
            "clipmill.curate.cli",
            "run",
            str(videos),
            "--out",
            f"{out}/run",
            "--no-export",
            "--workers",
            str(WORKERS),
        ]
        began = time.perf_counter()
        subprocess.run([*command, *(f"--set={s}" for s in sets)], check=True, capture_output=True)
        seconds = time.perf_counter() - began
        return seconds, json.loads(Path(out, "run", "run.json").read_text())


def rounds(videos, repeats):
    files = [str(p) for p in sorted(videos.iterdir(), key=lambda p: -p.stat().st_size) if p.is_file()]
    table, facts, frames = {}, {}, 0
    for _ in range(repeats):
        seconds, frames = pooled(bare_decode, files)
        table.setdefault("bare decode (PyAV, one thread each)", []).append(seconds)
        table.setdefault("PySceneDetect detect-adaptive", []).append(pooled(detect_adaptive, files)[0])
        for name, (detector, annotators) in VARIANTS.items():
            seconds, run = curate(videos, detector, annotators)
            table.setdefault(name, []).append(seconds)
            facts[name] = run
        print(json.dumps({name: round(values[-1], 1) for name, values in table.items()}), file=sys.stderr)
    return table, facts, frames


def report(table, facts, frames):
    bare, psd = (table[name] for name in list(table)[:2])
    lines = ["| two processes | seconds | / bare decode | / PySceneDetect |", "|---|---|---|---|"]
    for name, values in table.items():
        ratios = [statistics.median(a / b for a, b in zip(values, base, strict=True)) for base in (bare, psd)]
        lines.append(f"| {name} | {statistics.median(values):.1f} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    lines += [
        "",
        "| stage (seconds summed over the workers) | " + " | ".join(n.removeprefix("curate: ") for n in facts) + " |",
    ]
    lines.append("|---" * (len(facts) + 1) + "|")
    stages = list(dict.fromkeys(s for run in facts.values() for s in run["processed"]["stage_seconds"]))
    for stage in stages:
        cells = [run["processed"]["stage_seconds"].get(stage) for run in facts.values()]
        lines.append(f"| {stage} | " + " | ".join("" if c is None else f"{c:.1f}" for c in cells) + " |")
    decoded = [run["processed"]["frames_decoded"] / frames for run in facts.values()]
    lines.append("| **decoded frames per source frame** | " + " | ".join(f"{d:.3f}" for d in decoded) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(report(*rounds(options.videos, options.repeats)))


if __name__ == "__main__":
    main()
