"""Inputs of unusual size: one run in peace, one that is killed on the way and asked again."""

import re
import shutil
from collections import Counter
from dataclasses import dataclass, replace

import _soak
import numpy as np
import pandas as pd
from _soak import Moment, Row
from _soak_cases import Case, Place, ended, fresh, next_try, settings, undisturbed, write_video


@dataclass(frozen=True)
class Size:
    """An input. shots: frames of each shot of a file; size: px; moves: whether there is motion in a shot."""

    name: str
    files: int
    shots: tuple
    size: tuple
    codec: str
    suffix: str
    fps: int
    moves: bool = True


SIZES = (
    Size("a picture of 16384 x 8192 px, 8 frames", 1, (4, 4), (16384, 8192), "mjpeg", "mkv", 6),
    Size("100,000 frames in one video", 1, (500,) * 200, (64, 48), "mpeg4", "mp4", 25),
    Size("a day of slides at 1 frame a second", 1, (3600,) * 24, (64, 48), "mpeg4", "mp4", 1, moves=False),
    Size("10,000 tiny files", 10_000, (13, 13), (64, 48), "mpeg4", "mp4", 24),
)
SAMPLE = 300  # of more files, the bytes of the first ones are compared, for the time that a second whole run takes
PART = re.compile(r"run/.+/[0-9a-f]{32}-\w+\.parquet")
FEWER = (  # optical flow would take most of the time, and knows no sizes
    "annotators=['borders','phash']",
    "policy.motion=off",
)


def sizes(work, seed, out_of_time):
    """A row for each size."""
    rng, rows = np.random.default_rng(seed), []
    for spec in SIZES:
        row = Row(spec.name, wanted=1)
        rows.append(row)
        if out_of_time():
            row.skipped = "out of time"
            continue
        place = Place(*(work / name for name in ("in", "many", "case", "base")))
        for folder in (place.videos, place.case):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        for k in range(spec.files):
            name = f"{k:05d}.{spec.suffix}"
            write_video(place.videos / name, k, spec.shots, spec.size, spec.codec, spec.fps, spec.moves)
        _one(row, place, spec, float(rng.uniform(0.2, 0.8)))
    return rows


def _one(row, place, spec, share):
    """Killed at this share of the time that the work took in peace or, of many files, of the progress that it shows."""
    made, part = _case(spec, [place.videos]), spec.files > SAMPLE
    known = undisturbed(_case(spec, sorted(place.videos.iterdir())[:SAMPLE]) if part else made, place)
    fresh(place, ())
    moment = Moment(shown=share) if part else Moment(known.began_s + share * (known.cpu_s - known.began_s))
    first, problem = next_try(made, place, row, moment)
    last, again = next_try(made, place, row)
    problem += again + ended(place, last, [first.group, last.group], _of_parts(known) if part else known, part)
    clips, wrong = ("?", "") if problem else _accounted(place.case / "run", spec)
    problem += wrong
    row.note = f"{clips} clips; killed after {first.seconds:.0f} s, the rest took {last.seconds:.0f} s"
    row.judge(f"{row.what}, {moment}", problem + ("ended before the kill" if first.code is not None else ""))


def _case(spec, inputs):
    words = _soak.command("curate", "run", *inputs, "--out", "run", "--no-export", "--workers", 2, *settings(*FEWER))
    return Case(spec.name, words, (), ("run",), ("run/clips/*-*.parquet",))


def _of_parts(known):
    """Of the first files of many: their own tables, which do not depend on the others."""
    return replace(known, bytes={name: found for name, found in known.bytes.items() if PART.fullmatch(name)})


def _accounted(run, spec):
    """The number of clips; what does not add up of the videos and their frames, "" where all does."""
    videos = pd.read_parquet(run / "videos.parquet", columns=["status", "n_frames_decoded"])
    clips = len(pd.read_parquet(run / "manifest.parquet", columns=["clip_id"]))
    counts = Counter(zip(videos["status"], videos["n_frames_decoded"], strict=True))
    right = counts == {("ok", sum(spec.shots)): spec.files}
    return f"{clips:,}", "" if right else f"videos by status and frames: {dict(counts)}; "
