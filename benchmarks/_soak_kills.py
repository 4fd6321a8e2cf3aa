"""Kills at random moments, by command."""

import re
from dataclasses import dataclass

import _soak
import numpy as np
from _soak import Row

STEPS, SAVED_EVERY, SAMPLES = 240, 40, 24
PROTOCOL = ("--features", "mini", "--set", "clip_frames=8", "--set", "fps=8", "--set", "n_real=0", "--set", "n_fake=0")
CPU = ("--device", "cpu")


@dataclass(frozen=True)
class Case:
    """needs: what of the base must be there. makes: what is compared. units: patterns of files that are one finished
    unit of work each.
    """

    name: str
    words: list
    needs: tuple
    makes: tuple
    units: tuple = ()


def cases(videos):
    """The seven commands, each on what the ones before it made."""
    one = ("--workers", 1)
    nano = ("--config", "demo-nano", "--steps", STEPS, "--set", "train.log_every=5", "--set", "data.frames=[8]", *CPU)
    saved = (
        "--set",
        f"train.checkpoint_every={SAVED_EVERY}",
    )
    metrics = ("--metrics", "fvd,kvd,flicker", "--out", "scores.parquet", "--cache", "features")
    return [
        Case(
            "run",
            _soak.command("curate", "run", videos, "--out", "run", *one, *_soak.settings()),
            (),
            ("run",),
            ("run/clips/*-*.parquet", "run/exports/*.parquet"),
        ),
        Case(
            "annotate",
            _soak.command("curate", "annotate", "run", "--only", "quality", *one),
            ("run",),
            ("run",),
            ("run/annotations/quality*/*.parquet",),
        ),
        Case(
            "filter",
            _soak.command("curate", "filter", "run", "--set", "duration_s.max=1.4", "--name", "mine"),
            ("run",),
            ("run",),
        ),
        Case(
            "export",
            _soak.command("curate", "export", "run", "--fps", 12, *one),
            ("run",),
            ("run",),
            ("run/exports/*.parquet",),
        ),
        Case("train", _soak.command("models", "train", "run", "--out", "model", *nano, *saved), ("run",), ("model",)),
        Case(
            "sample",
            _soak.command("models", "sample", "model", "--n", SAMPLES, "--out", "samples", *CPU),
            ("model",),
            ("samples",),
            ("samples/*.mp4",),
        ),
        Case(
            "evaluate",
            _soak.command("evaluate", "run", "run", "samples", *PROTOCOL, *metrics, *CPU),
            ("run", "samples"),
            ("scores.parquet", "features"),
            ("features/*/*.parquet",),
        ),
    ]


def prepare(work):
    """Base of all cases: videos, and a run, a model and samples of them. Returns the folder of cases and the base."""
    videos, case, base = work / "in", work / "case", work / "base"
    for folder in (videos, case, base):
        folder.mkdir(parents=True)
    for k in range(4):
        _soak.write_video(videos / f"v{k}.mp4", k)
    for made in cases(videos):
        if made.name in ("run", "train", "sample"):
            _soak.fresh(case, base, made.needs)
            done = _soak.run(made.words, case)
            if done.code:
                raise SystemExit(f"{made.name} fails undisturbed: {done.errors}")
            (case / made.makes[0]).rename(base / made.makes[0])
    return case, base


def undisturbed(made, case, base):
    """What the command makes in peace, and how long it takes."""
    _soak.fresh(case, base, made.needs)
    done = _soak.run(made.words, case)
    if done.code:
        raise SystemExit(f"{made.name} fails undisturbed: {done.errors}")
    return _soak.snapshot(*(case / name for name in made.makes)), done


def kills(work, n, seed, out_of_time):
    """A row for each command: n kills in all, in chains of one to three."""
    case, base = prepare(work)
    rng = np.random.default_rng(seed)
    commands = cases(work / "in")
    known = {made.name: undisturbed(made, case, base) for made in commands}
    rows = {made.name: Row(f"killed: {made.name}", wanted=-(-n // len(commands))) for made in commands}
    again = dict.fromkeys(rows, 0)
    while not out_of_time() and any(row.done < row.wanted for row in rows.values()):
        for made in commands:
            row = rows[made.name]
            if row.done < row.wanted and not out_of_time():
                length = min(int(rng.integers(1, 4)), row.wanted - row.done)
                moments = rng.uniform(0.02, known[made.name][1].seconds, length)
                _soak.fresh(case, base, made.needs)
                again[made.name] += _chain(made, case, row, moments, known[made.name][0])
    for name, row in rows.items():
        row.lost = f"{again[name]} finished units made again"
    return list(rows.values())


def _chain(made, case, row, moments, wanted):
    """Kill the command at these moments, repeat it, and compare. Returns how many finished units were made again."""
    killed, again = 0, 0
    for moment in [*moments, None]:
        before = _units(made, case)
        step = _logged(case)
        done = _soak.run(made.words, case, moment)
        row.add(done)
        killed += done.code is None
        again += sum(now != before[name] for name, now in _units(made, case).items() if name in before)
        if made.name == "train" and done.code is not None:
            again += _steps_lost(done, step) > SAVED_EVERY
    row.done += killed
    problem = _soak.differences(wanted, _soak.snapshot(*(case / name for name in made.makes)))
    if done.code:
        problem = f"exit code {done.code}: {done.errors.strip()[-300:]}; {problem}"
    if problem:
        row.failures.append(f"{made.name} killed at {', '.join(f'{m:.2f} s' for m in moments)}: {problem}")
    else:
        row.held += killed
    return again


def _units(made, case):
    return {
        str(path): (path.stat().st_ino, path.stat().st_mtime_ns)
        for pattern in made.units
        for path in case.glob(pattern)
    }


def _logged(case):
    """Last step in a training's log, 0 without one."""
    log = case / "model" / "log.jsonl"
    found = re.findall(r'"step": (\d+)', log.read_text()) if log.exists() else []
    return int(found[-1]) if found else 0


def _steps_lost(done, logged):
    """Steps that a training did again."""
    found = re.search(r"going on from step (\d+)", done.said)
    return logged - (int(found[1]) if found else 0)
