"""What the parts of the soak share: commands as processes that may be killed, small videos, what must be equal."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.parquet as pq

# What tells of times and of single calls, and may differ between two undisturbed commands: whole files, keys of JSON,
# columns of tables. Everything else is compared byte by byte.
VOLATILE_FILES = {"report.html", "run.jsonl"}
# before: of a run card, the parts that a training had.
VOLATILE_KEYS = {"command", "started_at", "finished_at", "seconds", "processed", "before"}
LOG_KEYS = ("step", "loss", "grad_norm", "learning_rate", "skipped")  # what is promised of a line of log.jsonl

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
class Done:
    """How a command ended. code: None where it was killed."""

    code: int | None
    said: str
    errors: str
    seconds: float
    cpu_s: float
    peak_mb: float


@dataclass
class Row:
    """A line of the table."""

    what: str
    wanted: int = 0
    done: int = 0
    held: int = 0
    lost: str = ""
    seconds: float = 0.0
    cpu_s: float = 0.0
    failures: list = field(default_factory=list)
    skipped: str = ""

    def add(self, done):
        """Count the time of one command."""
        self.seconds, self.cpu_s = self.seconds + done.seconds, self.cpu_s + done.cpu_s


def settings(*more):
    return [word for text in (*SETTINGS, *more) for word in ("--set", text)]


def command(package, *words):
    return [sys.executable, "-m", f"clipmill.{package}.cli", *map(str, words)]


def run(words, folder, at=None, disturb=None, limit_bytes=None):
    """Run a command to its end. at: seconds after which `disturb` happens, by default SIGKILL to its whole group."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder.parent / "cache")}
    limit = None if limit_bytes is None else (lambda: _limit_file_size(limit_bytes))
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            words, cwd=folder, stdout=said, stderr=errors, env=environment, start_new_session=True, preexec_fn=limit
        )
        with _later(at, disturb or (lambda: _kill(process.pid))):
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        _wait_for_group(process.pid)
        return Done(
            None if os.WIFSIGNALED(status) else process.returncode,
            _text(said),
            _text(errors),
            time.perf_counter() - began,
            usage.ru_utime + usage.ru_stime,
            usage.ru_maxrss / 1024,
        )


def one_line(done):
    """Why the end of a command is not what a user should see where its work cannot go on: "" where it is right."""
    lines = [line for line in done.errors.splitlines() if line.strip()]
    if "Traceback" in done.errors:
        return f"a traceback: {lines[-1]}"
    if done.code != 2:
        return f"exit code {done.code}, said {done.errors.strip()[-200:]!r}"
    mistakes = [line for line in lines if line.startswith(("curate: ", "models: ", "evaluate: "))]
    return "" if len(mistakes) == 1 else f"{len(mistakes)} lines: {done.errors.strip()[-300:]!r}"


def snapshot(*paths):
    """Name -> hash of all that is promised equal, of files and folders."""
    found = {}
    for root in paths:
        files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
        for path in files:
            # What a file held is remembered only once it is two seconds old.
            if path.name not in VOLATILE_FILES and path.suffix != ".content" and path.name != ".content":
                found[str(path.relative_to(root.parent))] = _digest(path)
    return found


def differences(wanted, found):
    """One line: what is missing, too much, or other."""
    parts = {
        "missing": sorted(wanted.keys() - found.keys()),
        "left over": sorted(found.keys() - wanted.keys()),
        "other bytes": sorted(name for name in wanted.keys() & found.keys() if wanted[name] != found[name]),
    }
    return "; ".join(f"{what}: {', '.join(names[:6])} ({len(names)})" for what, names in parts.items() if names)


def fresh(case, base, names):
    """The folder of a case as it is before its command: these files and folders of `base`, nothing else."""
    for path in case.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in names:
        shutil.copytree(base / name, case / name)


def write_video(path, seed, shots=(30, 48, 36), size=(128, 96), codec="libx264", fps=24):
    """Textures that drift, bright and dark in turn. shots: frames of each."""
    rng, (width, height) = np.random.default_rng(seed), size
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=fps, options={"threads": "1"})
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for k, frames in enumerate(shots):
            small = rng.integers(0, 120, (max(height // 8, 2), max(width // 4, 2), 3), dtype=np.uint8)
            texture = cv2.resize(small, (2 * width, height)) + np.uint8(130 * ((seed + k) % 2))
            for t in range(frames):
                picture = np.roll(texture, -(t * (2 + k)) % (2 * width), axis=1)[:, :width]
                out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")))
        out.mux(stream.encode(None))


def _digest(path):
    content = path.read_bytes()
    if path.name in ("run.json", "state.json"):
        tree = json.loads(content)
        content = json.dumps({key: value for key, value in tree.items() if key not in VOLATILE_KEYS}).encode()
    elif path.name == "log.jsonl":
        rows = [json.loads(line) for line in content.splitlines()]
        content = json.dumps([[row.get(key) for key in LOG_KEYS] for row in rows]).encode()
    elif path.name == "scores.parquet":
        content = json.dumps(_scores(path), default=str).encode()
    return hashlib.sha256(content).hexdigest()[:16]


def _scores(path):
    table = pq.read_table(path)
    return table.select([name for name in table.column_names if name not in ("created_at", "seconds")]).to_pylist()


def _text(file):
    file.seek(0)
    return file.read().decode(errors="replace")


@contextmanager
def _later(seconds, action):
    """Do something after that time, unless the block has ended by then; None: never."""
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, action)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _kill(group):
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _wait_for_group(group, patience_s=10):
    """Until no process of the group is alive: after a kill, the last of them may take a moment."""
    until = time.monotonic() + patience_s
    while time.monotonic() < until and any(_alive(path, group) for path in Path("/proc").glob("[0-9]*/stat")):
        time.sleep(0.02)


def _alive(stat, group):
    try:
        state, _, found = stat.read_text().rpartition(")")[2].split()[:3]
    except OSError:
        return False
    return int(found) == group and state not in "ZX"


def _limit_file_size(size):
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
