"""Every system of docs/systems at a small size, trained for the same CPU time on the same rendered videos.

    python benchmarks/systems.py [--only vdm,latte] [--seconds 90] [--n 128] [--seed 0] [--lanes 2] [--work DIR]
    [--results FILE] [--sheets DIR]

One thread each, `--lanes` systems at a time. benchmarks/systems/NAME.toml says what is trained, one after another, with
what share of the CPU time, and how it is sampled: 8 frames of 32 x 32 px. The clock of a training runs from its first
step, so that imports and encoding are not in it, and what is decoded on the way is. Distance: Fréchet, on the features
of `mini` (no FVD), against held-out clean clips of other demo seeds. Floor: training windows through the system's
latents and back. Motion: mean optical flow, of real. Nearest: median rms to the nearest training window. These sizes
and times say how the designs begin to learn, not which is best. Prints a Markdown table and writes its figures to FILE
(DIR/systems.json); --sheets: a contact sheet of each, NAME.jpg. With --work everything is kept there, and what is there
is not made again.
"""

import argparse
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from demo_training import command, curated, features, motion, nearest_to, samples, windows
from PIL import Image

from clipmill.evaluate.distances.frechet import frechet_distance
from clipmill.models.config import load

FOLDER = Path(__file__).resolve().parent / "systems"
TRAIN, HELD_OUT = (0, 12), ((2, 6), (3, 6))  # (seed, minutes) of demo videos
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}
# The budget ends a training, not its own number of steps, and nothing is done beside it. Latents are measured on as
# many windows as of full sizes: some of these are made of nano presets.
QUIET = ("train.log_every=1", "train.validate_every=0", "train.checkpoint_every=0", "train.preview_every=0")
QUIET += ("train.measured=256",)
SHAPE = (8, 32, 32, 3)
_TICKS, _POLL_S = os.sysconf("SC_CLK_TCK"), 0.2


def entries(names=None):
    """Name of a system -> how it is trained and sampled."""
    found = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.toml"))}
    for name, entry in found.items():
        if abs(sum(part["share"] for part in entry["train"]) - 1) > 1e-6:
            raise ValueError(f"{name}: the shares of its trainings add up to 1")
    return {name: entry for name, entry in found.items() if names is None or name in names}


def cpu_s(pid):
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def train(run, part, out, seconds, seed, made):
    """CPU seconds and steps of one training, which gets `seconds` from its first step on."""
    log, told = out / "log.jsonl", out.with_suffix(".json")
    if not told.exists():
        sets = [text.format(**made) for text in part.get("set", ())] + [*QUIET, f"train.seed={seed}"]
        words = [
            sys.executable,
            "-m",
            "clipmill.models.cli",
            "train",
            str(run),
            "--config",
            part["config"].format(**made),
        ]
        words += ["--out", str(out), "--device", "cpu", *(word for text in sets for word in ("--set", text))]
        with out.with_suffix(".txt").open("w") as said:
            process = subprocess.Popen(words, stdout=said, stderr=said, env=ONE_THREAD)
            before = used = 0.0
            while process.poll() is None:
                time.sleep(_POLL_S)
                try:
                    used = cpu_s(process.pid)
                except (FileNotFoundError, ProcessLookupError):
                    break
                before = before or (used if log.exists() and log.stat().st_size else 0.0)
                if before and used - before >= seconds:
                    process.send_signal(signal.SIGTERM)
                    break
            if process.wait():
                raise RuntimeError(f"{out}: {out.with_suffix('.txt').read_text().strip().splitlines()[-1]}")
        told.write_text(json.dumps({"cpu_s": used - before}))
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    return json.loads(told.read_text())["cpu_s"], steps[-1]


def sample(words, out, count, seed):
    """CPU seconds of sampling, start included."""
    told = out.with_suffix(".json")
    if not told.exists():
        line = [sys.executable, "-m", "clipmill.models.cli", "sample", *words, "--out", str(out), "--n", str(count)]
        line += ["--seed", str(seed), "--device", "cpu", "--set", "sample.batch=16"]
        with out.with_suffix(".txt").open("w") as said:
            process = subprocess.Popen(line, stdout=said, stderr=said, env=ONE_THREAD)
            _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"{out}: {out.with_suffix('.txt').read_text().strip().splitlines()[-1]}")
        told.write_text(json.dumps({"cpu_s": usage.ru_utime + usage.ru_stime}))
    return json.loads(told.read_text())["cpu_s"]


def parameters(checkpoint):
    """Numbers in the weights of a checkpoint's last step, of its own kind alone."""
    from safetensors import safe_open

    last = sorted((checkpoint / "steps").iterdir())[-1]
    with safe_open(last / "model.safetensors", "np") as file:
        return sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118


def measured(work, name, entry, sets, options):
    """One row."""
    folder, made = work / name, {"firsts": str(sets["firsts"]), "run": str(sets["run"])}
    folder.mkdir(exist_ok=True)
    spent, steps = [], []
    for part in entry["train"]:
        made[part["name"]] = str(folder / part["name"])
        used, last = train(
            sets["run"], part, folder / part["name"], part["share"] * options.seconds, options.seed, made
        )
        spent.append(used)
        steps.append(last)
    words = [word.format(**made) for word in entry["sample"]["args"]]
    seconds = sample(words, folder / "samples", options.n, options.seed)
    again = folder / "floor"
    # Of a chain, that of its last model, which makes the videos.
    last = [words[0], *(after for word, after in itertools.pairwise(words) if word == "--then")][-1]
    if not (again / "floor.json").exists():
        command("clipmill.models.cli", "floor", last, "--out", again, "--n", options.n)
    videos, floor = samples(folder / "samples"), samples(again / "latents")
    if videos.shape[1:] != SHAPE:
        raise ValueError(f"{name} made videos of {videos.shape[1:]}, not of {SHAPE}")
    return {
        "system": name,
        "given": entry.get("about", {}).get("given", "nothing"),
        "steps": steps,
        "train_cpu_s": spent,
        "sample_cpu_s": seconds / len(videos),
        "distance": frechet_distance(sets["real"], features(videos)),
        "floor": frechet_distance(sets["real"], features(floor)),
        "motion": motion(videos) / sets["motion"],
        "nearest": nearest_to(np.load(again / "trained.npy"), videos),
        "parameters": parameters(Path(words[0])),
    }


def prepared(work, options):
    """The training run, held-out windows, and folders of what they begin with."""
    config = load("demo")
    run, first, second = (curated(work, *which) for which in (TRAIN, *HELD_OUT))
    reference, _ = windows([first], config, options.n)
    other, _ = windows([second], config, options.n)
    known, _ = windows([run], config, options.n, "split = 'train'")
    firsts = work / "firsts"
    firsts.mkdir(exist_ok=True)
    for number, video in enumerate(other):
        Image.fromarray(video[0]).save(firsts / f"{number:04d}.png")
    real = features(reference)
    moved = motion(np.concatenate([reference, other]))
    rows = {
        title: plain(real, videos, moved)
        for title, videos in {"real, other clips": other, "training windows": known}.items()
    }
    return {"run": run, "firsts": firsts, "real": real, "motion": moved, "plain": rows, "other": other}


def plain(real, videos, moved):
    return {"distance": frechet_distance(real, features(videos)), "motion": motion(videos) / moved}


def table(results):
    """Markdown."""
    lines = ["| system | steps | distance | floor | motion, of real | nearest | CPU s a sample | M numbers | given |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for title, row in results["plain"].items():
        near = f"{row['nearest']:.3f}" if "nearest" in row else ""
        lines.append(f"| {title} | | {row['distance']:.1f} | | {row['motion']:.2f} | {near} | | | |")
    for row in results["rows"]:
        steps = " + ".join(f"{count:,}" for count in row["steps"])
        cells = [row["system"], steps, f"{row['distance']:.1f}", f"{row['floor']:.1f}", f"{row['motion']:.2f}"]
        cells += [f"{row['nearest']:.3f}", f"{row['sample_cpu_s']:.2f}", f"{row['parameters'] / 1e6:.2f}", row["given"]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_sheet(folder, path):
    """The first videos, one row each, eight frames beside one another."""
    rows = [np.concatenate(list(video), axis=1) for video in samples(folder)[:6]]
    Image.fromarray(np.concatenate(rows)).resize((8 * 64, len(rows) * 64), Image.Resampling.BICUBIC).save(
        path, quality=85
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="systems, with commas between")
    parser.add_argument("--seconds", type=float, default=90.0)
    parser.add_argument("--n", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--sheets", type=Path)
    options = parser.parse_args()
    chosen = entries(None if options.only is None else options.only.split(","))
    if not chosen:
        sys.exit(f"no system {options.only}; there are {', '.join(entries())}")
    with tempfile.TemporaryDirectory() as temporary:
        work, began = options.work or Path(temporary), time.monotonic()
        work.mkdir(parents=True, exist_ok=True)
        sets = prepared(work, options)
        with ThreadPoolExecutor(options.lanes) as lanes:
            rows = list(lanes.map(lambda name: measured(work, name, chosen[name], sets, options), chosen))
        trained = np.load(work / rows[0]["system"] / "floor" / "trained.npy")
        sets["plain"]["real, other clips"]["nearest"] = nearest_to(trained, sets["other"])
        told = {"seconds": options.seconds, "n": options.n, "seed": options.seed, "plain": sets["plain"], "rows": rows}
        (options.results or work / "systems.json").write_text(json.dumps(told, indent=1) + "\n")
        for name in chosen if options.sheets else ():
            write_sheet(work / name / "samples", options.sheets / f"{name}.jpg")
        print(f"{options.seconds:.0f} CPU seconds of training each, {options.n} samples, seed {options.seed}\n")
        print(table(told))
        print(f"{(time.monotonic() - began) / 60:.0f} minutes on {options.lanes} lanes", file=sys.stderr)


if __name__ == "__main__":
    main()
