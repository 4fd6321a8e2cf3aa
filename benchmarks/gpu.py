"""What the models, their training and the feature networks do on a GPU: one command, at most nine minutes, no network.

    python benchmarks/gpu.py [--out FILE] [--minutes 8.5] [--parts parity,training,...] [--wheels DIR] [--pools FILE]
    python benchmarks/gpu.py --device cpu --small     # the same in small sizes: does it run?
    python benchmarks/gpu.py wheels [--collect DIR]   # what is needed beside torch and numpy; fetch it, where pip can
    python benchmarks/gpu.py pools FILE [--work DIR]  # the clips of the experiment, made where all of clipmill runs
    python benchmarks/gpu.py table [FILE]             # the Markdown of docs/measured.md

Needs this checkout, Python 3.12 and torch 2.11 (or newer). `--wheels DIR` takes what the machine lacks from a folder of
wheels, without installing anything. Parts run one after the other, each in a process of its own with a share of the
time; whatever has been measured is in the JSON at once, so a run that is cut off keeps it, and a part or a case that
fails has its reason there. parity: losses, gradients and samples of small systems against the CPU, bf16 against
float32. training: DiT-XL/2 and Latte-XL/2 shapes, tokens/s, model TFLOP/s and MFU, compiled against eager, against a
plain module and diffusers'. attention: windows and packed videos by FlexAttention against dense attention. features:
I3D, CLIP and RAFT with random weights. experiment: the curation experiment at GPU size, from the file that `pools`
wrote. Results of the docs lie in benchmarks/results/gpu.json.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "gpu.json"
# part -> share of the time at most; what a part leaves goes to those behind it.
SHARES = {"parity": 0.12, "training": 0.48, "attention": 0.18, "features": 0.2, "experiment": 1.0}
_GRACE_S = 10.0


def run(options: argparse.Namespace) -> dict:
    """All parts, each in a process of its own."""
    end = time.monotonic() + 60 * options.minutes
    results = {"size": options.size, "minutes": options.minutes, "parts": {}}
    for name in options.parts.split(","):
        left_s = end - time.monotonic()
        # In small sizes the time is no matter: a CPU may be slow.
        share = SHARES[name] if options.size == "full" else 1.0
        budget_s = min(left_s, share * 60 * options.minutes)
        results["parts"][name] = part = {"status": "running", "budget_s": round(budget_s), "cases": {}}
        write(options.out, results)
        print(f"{name}: {budget_s:.0f} s at most", file=sys.stderr, flush=True)
        one_part(name, budget_s, options, part, lambda: write(options.out, results))
        if machine := part["cases"].pop("machine", None):
            results.setdefault("machine", machine)
        write(options.out, results)
    return results


def one_part(name: str, budget_s: float, options: argparse.Namespace, part: dict, keep) -> None:
    """Start the part and take its cases as they come, one JSON object a line."""
    began = time.monotonic()
    words = [sys.executable, str(HERE / "gpu.py"), "part", name, "--until", f"{time.time() + budget_s:.1f}"]
    words += [
        "--size",
        options.size,
        "--device",
        options.device,
        *(["--pools", str(options.pools)] if options.pools else []),
    ]
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment(options))
        # A part looks at the time between its cases: the end is for one that hangs.
        timer = threading.Timer(budget_s + _GRACE_S, child.kill)
        timer.start()
        for line in child.stdout:
            case = parsed(line)
            if case is not None:
                part["cases"] |= case
                keep()
        code = child.wait()
        timer.cancel()
        errors.seek(0)
        last = errors.read().strip().splitlines()[-1:]
    part["status"] = "done" if code == 0 else "failed"
    if code:
        late = time.monotonic() - began > budget_s
        part["reason"] = (
            f"cut off after {budget_s + _GRACE_S:.0f} s" if late else " ".join(last)[:400] or f"exit {code}"
        )
    part["seconds"] = round(time.monotonic() - began, 1)


def environment(options: argparse.Namespace) -> dict[str, str]:
    """For a part: this checkout before all, wheels behind what is installed."""
    paths = [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "CLIPMILL_WHEELS": options.unpacked}


def parsed(line: str) -> dict | None:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        print(line, end="", file=sys.stderr)
        return None
    return found


def write(path: Path, results: dict) -> None:
    """Whole or not at all: a run may be cut off while it writes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".partial")
    beside.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    beside.replace(path)


def part_alone(name: str, device: str, size: str, budget_s: float, pools: str | None, tell) -> None:
    """Measure one part in this process. tell: gets (name of a case, its result)."""
    import torch
    from _gpu_bench import Bench, clocks, machine

    torch.manual_seed(0)
    bench = Bench(torch.device(device), size, time.monotonic() + budget_s, tell, pools)
    tell("machine", machine(bench))
    before = clocks()
    importlib.import_module(f"_gpu_{name}").run(bench)
    if bench.cuda:
        tell("clocks", {"before": before, "after": clocks()})


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        return COMMANDS[sys.argv[1]](sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", dest="size", action="store_const", const="small", default="full")
    parser.add_argument("--tiny", dest="size", action="store_const", const="tiny")
    parser.add_argument("--minutes", type=float, help="for all parts; 8.5, and 30 in small sizes")
    parser.add_argument("--parts", default=",".join(SHARES))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--pools", type=Path)
    options = parser.parse_args()
    unknown = set(options.parts.split(",")) - SHARES.keys()
    if unknown:
        parser.error(f"there is no part {min(unknown)!r}; there are {', '.join(SHARES)}")
    options.minutes = options.minutes or (8.5 if options.size == "full" else 30)
    options.out = options.out or (RESULTS if options.device == "cuda" else Path("gpu-cpu.json"))
    with tempfile.TemporaryDirectory() as folder:
        options.unpacked = ""
        if options.wheels:
            from _gpu_wheels import unpack

            options.unpacked = unpack(options.wheels, Path(folder))
        results = run(options)
    print(f"{options.out}\n")
    from _gpu_table import table

    print(table(results))


def part_command(words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=SHARES)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", default="full")
    parser.add_argument("--until", type=float, default=time.time() + 600, help="seconds since 1970")
    parser.add_argument("--pools")
    options = parser.parse_args(words)
    if os.environ.get("CLIPMILL_WHEELS"):
        sys.path.append(os.environ["CLIPMILL_WHEELS"])

    def tell(name: str, found: dict) -> None:
        print(json.dumps({name: found}), flush=True)

    part_alone(options.name, options.device, options.size, options.until - time.time(), options.pools, tell)


def wheels_command(words: list[str]) -> None:
    from _gpu_wheels import collect, listing

    parser = argparse.ArgumentParser()
    parser.add_argument("--collect", type=Path)
    options = parser.parse_args(words)
    if options.collect:
        collect(options.collect)
    print(listing(options.collect))


def pools_command(words: list[str]) -> None:
    from _gpu_experiment import write_pools

    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--minutes", type=float, default=12, help="of demo videos")
    parser.add_argument("--per-clip", type=int, default=1, help="windows of each clip: about 26 MiB for each")
    options = parser.parse_args(words)
    write_pools(options.file, options.work, options.minutes, options.per_clip)


def table_command(words: list[str]) -> None:
    from _gpu_table import table

    path = Path(words[0]) if words else RESULTS
    print(table(json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None))


COMMANDS = {"part": part_command, "wheels": wheels_command, "pools": pools_command, "table": table_command}

if __name__ == "__main__":
    main()
