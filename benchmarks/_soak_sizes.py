"""Inputs of unusual size, in one run each, killed once on the way."""

import json
import shutil
from collections import Counter

import _soak
import numpy as np
import pandas as pd
from _soak import Row

# name -> (files, shots in frames of each file, width and height, codec, suffix, frames per second)
SIZES = {
    "a 16k picture": (1, (6, 6), (16384, 8192), "mjpeg", "mkv", 6),
    "100,000 frames in one video": (1, (500,) * 200, (64, 48), "mpeg4", "mp4", 25),
    "a day at 1 fps": (1, (3600,) * 24, (64, 48), "mpeg4", "mp4", 1),
    "10,000 tiny files": (10_000, (13, 13), (64, 48), "mpeg4", "mp4", 24),
}
GUESS_S = {"10,000 tiny files": 120, "a 16k picture": 10}


def sizes(work, seed, out_of_time):
    """A row for each size."""
    rng = np.random.default_rng(seed)
    rows = []
    for name, spec in SIZES.items():
        row = Row(name, wanted=1)
        rows.append(row)
        if out_of_time():
            row.skipped = "out of time"
            continue
        videos, case = work / "in", work / "case"
        for folder in (videos, case):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        files, shots, size, codec, suffix, fps = spec
        for k in range(files):
            _soak.write_video(videos / f"{k:05d}.{suffix}", k, shots, size, codec, fps)
        _one(row, videos, case, float(rng.uniform(0.3, 1.0) * GUESS_S.get(name, 40)), files, sum(shots))
    return rows


def _one(row, videos, case, moment, files, frames):
    """A run that is killed once, and the same command."""
    words = _soak.command("curate", "run", videos, "--out", "run", "--no-export", *_soak.settings())
    first = _soak.run(words, case, moment)
    row.add(first)
    last = _soak.run(words, case)
    row.add(last)
    row.done = 1
    peak = max(first.peak_mb, last.peak_mb)
    problem, again, clips = _accounted(case / "run", last, files, frames)
    ended = "killed" if first.code is None else "ended before the kill"
    row.lost = f"{ended} at {first.seconds:.0f} s; {again} finished units made again; {clips} clips; peak {peak:.0f} MB"
    if problem or again:
        row.failures.append(f"{row.what}, killed at {moment:.1f} s: {problem or row.lost}")
    else:
        row.held = 1


def _accounted(run, last, files, frames):
    """What does not add up, how many finished units were made again, and the number of clips."""
    if last.code:
        return f"exit code {last.code}: {last.errors.strip()[-300:]}", 0, 0
    events = [json.loads(line) for line in (run / "run.jsonl").read_text().splitlines()]
    again = sum(count - 1 for count in Counter(event["unit"] for event in events).values())
    videos = pd.read_parquet(run / "videos.parquet", columns=["status", "n_frames_decoded"])
    clips = len(pd.read_parquet(run / "manifest.parquet", columns=["clip_id"]))
    wrong = f"{len(videos)} rows of {files}; " if len(videos) != files else ""
    wrong += f"status {dict(Counter(videos['status']))}; " if set(videos["status"]) != {"ok"} else ""
    short = int((videos["n_frames_decoded"] != frames).sum())
    return wrong + (f"{short} videos of other than {frames} frames" if short else ""), again, clips
