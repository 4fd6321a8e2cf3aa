"""The seven commands of the soak, what they work on, and the same command once more."""

import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import _soak
import av
import cv2
import numpy as np
from _soak_compare import differences, digest, finished, made_again, snapshot, steps_lost, strays

VIDEOS, MANY = 8, 560
STEPS, SAVED_EVERY, SAMPLES = 320, 40, 48
PROTOCOL = ("--features", "mini", "--set", "clip_frames=8", "--set", "fps=8", "--set", "n_real=0", "--set", "n_fake=0")
CPU = ("--device", "cpu")
POLICY_OFF = ("text_area", "near_black", "sharpness", "blockiness", "flicker", "dup_frame_share", "dup_rank")
CHEAP = ("annotators=['borders','motion','phash']", "scenes.detector=cascade", "export.preset=ultrafast")
SETTINGS = (
    *CHEAP,
    "export.short_side_px=64",
    "policy.motion.min=0.0",
    "policy.duration_s.min=0.5",
    *(f"policy.{name}=off" for name in POLICY_OFF),
)


@dataclass(frozen=True)
class Case:
    """needs: what of the base must be there. makes: what it writes. units: patterns of the files that tell of finished
    units of work: a video of `curate`, a clip of `sample`, up to 256 clips of `evaluate`.
    """

    name: str
    words: list
    needs: tuple
    makes: tuple
    units: tuple = ()


@dataclass(frozen=True)
class Place:
    """videos: input of `curate run`. many: small videos to be evaluated. case: where the commands work. base: what the
    cases need.
    """

    videos: Path
    many: Path
    case: Path
    base: Path

    @property
    def tmp(self):
        return self.case.parent / "tmp"


@dataclass(frozen=True)
class Known:
    """What a command makes in peace. cpu_s, began_s: CPU seconds in all and until its first file. added: bytes on the
    disk, in blocks. tmp: names in TMPDIR, which are libraries' caches.
    """

    bytes: dict
    cpu_s: float
    began_s: float
    added: int
    tmp: set


def settings(*more):
    return [word for text in (*SETTINGS, *more) for word in ("--set", text)]


def cases(place):
    """The seven commands, each on what the ones before it made."""
    curate, models = (lambda *words: _soak.command("curate", *words)), (lambda *words: _soak.command("models", *words))
    one = ("--workers", 1)
    nano = ("--config", "demo-nano", "--steps", STEPS, "--set", "train.log_every=5", "--set", "data.frames=[8]", *CPU)
    saved = ("--set", f"train.checkpoint_every={SAVED_EVERY}")
    sampled = ("--n", SAMPLES, "--out", "samples", "--set", "sample.batch=4", *CPU)
    metrics = ("--metrics", "fvd,kvd,flicker", "--out", "scores.parquet", "--cache", "features")
    found = [
        Case("run", curate("run", place.videos, "--out", "run", *one, *settings()), (), ("run",),
             ("run/clips/*-*.parquet", "run/exports/*-*.parquet")),
        Case("annotate", curate("annotate", "run", "--only", "quality", *one), ("run",), ("run",),
             ("run/clips/*-*.parquet", "run/exports/*-*.parquet", "run/annotations/*/*-*.parquet")),
        Case("filter", curate("filter", "run", "--set", "duration_s.max=1.4", "--name", "mine"), ("run",), ("run",),
             ("run/clips/*-*.parquet", "run/exports/*-*.parquet", "run/annotations/*/*-*.parquet")),
        Case("export", curate("export", "run", "--fps", 12, *one), ("run",), ("run",),
             ("run/clips/*-*.parquet", "run/exports/*-*.parquet", "run/annotations/*/*-*.parquet")),
        Case("train", models("train", "run", "--out", "model", *nano, *saved), ("run",), ("model",)),
        Case("sample", models("sample", "model", *sampled), ("model",), ("samples",), ("samples/*.mp4",)),
        Case("evaluate", _soak.command("evaluate", "run", "run", place.many, *PROTOCOL, *metrics, *CPU), ("run",),
             ("scores.parquet", "features"), ("features/features/*/*-*.parquet",)),
    ]  # fmt: skip
    return {made.name: made for made in found}


def prepare(work):
    """Base of all cases: videos, and a run and a model of them. Returns a place to make others like, and all that the
    two commands that made it make in peace.
    """
    place = Place(*(work / name for name in ("in", "many", "case", "base")))
    for folder in (place.videos, place.many, place.case, place.base):
        folder.mkdir(parents=True)
    for k in range(VIDEOS):
        write_video(place.videos / f"v{k}.mp4", k)
    for k in range(MANY):
        write_video(place.many / f"m{k:03d}.mp4", 1000 + k, (9,), (64, 48), "mpeg4", 8)
    for name in ("run", "train"):
        made = cases(place)[name]
        undisturbed(made, place)
        shutil.copytree(place.case / made.makes[0], place.base / made.makes[0])
    return place


def elsewhere(place, name):
    """A place for a case of its own, with the same videos and base."""
    case = place.case.parent / name / "case"
    case.mkdir(parents=True)
    return replace(place, case=case)


def undisturbed(made, place):
    """What the command makes in peace. The moment that is waited for never comes."""
    fresh(place, made.needs)
    before = size(place.case)
    done = _soak.run(made.words, place.case, _soak.Moment(math.inf))
    if done.code:
        raise SystemExit(f"{made.name} fails undisturbed: {done.errors}")
    found = snapshot(place.case)
    began_s = min(done.began_s or 0.0, done.cpu_s)
    return Known(found, done.cpu_s, began_s, max(size(place.case) - before, 0), strays(place.tmp))


def fresh(place, names):
    """The folder of a case as it is before its command: these folders of the base, nothing else."""
    for folder in (place.case, place.tmp):
        for path in folder.iterdir() if folder.exists() else ():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in names:
        shutil.copytree(place.base / name, place.case / name)


def next_try(made, place, row, moment=None, disturb=_soak.kill_group, limit_bytes=None):
    """The command once more. Returns how it ended, and what finished work it made again beyond one unit ("": none)."""
    before, log = finished(place.case, made.units), place.case / "model" / "log.jsonl"
    logged = log.read_text() if made.name == "train" and log.exists() else ""
    done = _soak.run(made.words, place.case, moment, disturb, limit_bytes)
    row.add(done)
    again = made_again(before, finished(place.case, made.units))
    steps = steps_lost(done.said, logged)
    row.again += len(again) + (steps > SAVED_EVERY)
    problem = f"{len(again)} finished units were made again; " if len(again) > 1 else ""
    return done, problem + (f"{steps} steps were made again; " if steps > SAVED_EVERY else "")


def ended(place, done, groups, known, part=False):
    """What does not hold after a command has ended by itself: "" where it is as if nothing had happened. groups: of
    processes that must be gone by now. part: what is known is part of what there must be.
    """
    problem = f"exit code {done.code}: {done.errors.strip()[-300:]}; " if done.code else ""
    found = snapshot(place.case)
    problem += differences(known.bytes, {k: v for k, v in found.items() if k in known.bytes} if part else found)
    if any(not _soak.wait_for(group) for group in groups):
        problem += "; a process is left"
    if left := sorted(strays(place.tmp) - known.tmp):
        problem += f"; left in TMPDIR: {', '.join(left[:4])} ({len(left)})"
    return problem.removeprefix("; ")


def repeated(made, place, row, groups, known):
    """The cause is gone: the same command ends, and all is as if nothing had happened; else what is not."""
    problem = take_scores(made, place, known.bytes)
    done, again = next_try(made, place, row)
    return problem + again + ended(place, done, [*groups, done.group], known)


def take_scores(made, place, wanted):
    """A command that was stopped after its rows were written had done all; the next one adds its own, as it says. So
    they are compared, and taken away before it.
    """
    scores = place.case / "scores.parquet"
    if made.name != "evaluate" or not scores.exists():
        return ""
    same = digest(scores) == wanted[scores.name]
    scores.unlink()
    return "" if same else "other scores than undisturbed; "


def size(folder):
    """Bytes on a disk of 4096 byte blocks."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


def write_video(path, seed, shots=(30, 48, 36), size=(128, 96), codec="libx264", fps=24, moves=True):
    """Textures, bright and dark in turn, that drift or, without `moves`, stand. shots: frames of each."""
    rng, (width, height) = np.random.default_rng(seed), size
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=fps, options={"threads": "1"})
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for k, frames in enumerate(shots):
            small = rng.integers(0, 120, (max(height // 8, 2), max(width // 4, 2), 3), dtype=np.uint8)
            texture = cv2.resize(small, (2 * width, height)) + np.uint8(130 * ((seed + k) % 2))
            for t in range(frames):
                shift = t * (2 + k) if moves else 0
                picture = np.roll(texture, -shift % (2 * width), axis=1)[:, :width]
                out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")))
        out.mux(stream.encode(None))
