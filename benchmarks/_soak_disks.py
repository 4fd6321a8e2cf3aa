"""Disks that fill or turn read-only, folders that go away, sources that are replaced, while a command works."""

import os
import shutil
import subprocess
import time
from contextlib import contextmanager

import _soak
import numpy as np
from _soak import Row
from _soak_kills import cases, prepare, undisturbed

SHARES = (0.15, 0.6)  # of what a command adds: so much room it finds
PATIENCE_S = 5


def disks(work, seed, out_of_time):
    """A row for each kind of disturbance."""
    case, base = prepare(work)
    rng = np.random.default_rng(seed)
    commands = {made.name: made for made in cases(work / "in")}
    known = {name: undisturbed(made, case, base) for name, made in commands.items()}
    mounts = _may_mount(work)
    around = (case, base, commands, known, rng)
    rows = [_full(*around) if mounts else _limited(*around)]
    rows.append(_read_only(*around) if mounts else Row("read-only remount", skipped="no right to mount"))
    rows.append(_away(*around, work / "in", ("run",), "input folder goes away"))
    rows.append(_away(*around, case / "run", ("train", "evaluate"), "run goes away under its reader"))
    rows.append(_away(*around, case / "run", ("annotate", "export"), "run goes away under its writer"))
    rows += [_replaced(*around, work / "in", how) for how in ("renamed over", "written in place")]
    return rows


def _full(case, base, commands, known, _):
    """A disk with room for a share of what the command writes, which then grows."""
    row = Row("disk fills")
    for name, made in commands.items():
        _soak.fresh(case, base, made.needs)
        before = _size(case)
        _soak.run(made.words, case)
        added = max(_size(case) - before, 0)
        _soak.fresh(case, base, ())
        for share in SHARES:
            row.wanted += 1
            with _mounted(case, f"size={before + max(int(share * added) // 4096, 1) * 4096}"):
                _soak.fresh(case, base, made.needs)
                first = _soak.run(made.words, case)
                row.add(first)
                subprocess.run(["mount", "-o", "remount,size=1g", case], check=True)
                problem = _soak.one_line(first) if first.code else ""
                _finish(row, made, case, known[name][0], problem, f"{name}, room for {share:.0%} of what it writes")
    return row


def _limited(case, base, commands, known, _):
    """The same without the right to mount: no file may grow beyond a size."""
    row = Row("files may not grow (no right to mount)")
    for name, made in commands.items():
        row.wanted += 1
        _soak.fresh(case, base, made.needs)
        first = _soak.run(made.words, case, limit_bytes=2000)
        row.add(first)
        _finish(row, made, case, known[name][0], _soak.one_line(first), f"{name}, files up to 2000 bytes")
    return row


def _read_only(case, base, commands, known, rng):
    """A disk that turns read-only at a random moment, and back."""
    row = Row("read-only remount")
    for name, made in commands.items():
        row.wanted += 1
        _soak.fresh(case, base, ())
        with _mounted(case, "size=1g"):
            _soak.fresh(case, base, made.needs)
            moment = rng.uniform(0.1, 0.9) * known[name][1].seconds
            first = _soak.run(made.words, case, moment, lambda: _remount_read_only(case))
            row.add(first)
            subprocess.run(["mount", "-o", "remount,rw", case], check=True)
            problem = _soak.one_line(first) if first.code else ""
            _finish(row, made, case, known[name][0], problem, f"{name}, after {moment:.2f} s")
    return row


def _away(case, base, commands, known, rng, folder, names, what):
    """A folder has no name from a random moment until the command has ended."""
    row = Row(what)
    for name in names:
        for _ in range(2):
            made = commands[name]
            row.wanted += 1
            _soak.fresh(case, base, made.needs)
            moment = rng.uniform(0.2, 0.9) * known[name][1].seconds
            away = folder.with_name(f"{folder.name}.away")
            first = _soak.run(made.words, case, moment, lambda away=away: folder.exists() and folder.rename(away))
            row.add(first)
            if away.exists():
                shutil.rmtree(folder, ignore_errors=True)
                away.rename(folder)
            problem = _soak.one_line(first) if first.code else ""
            _finish(row, made, case, known[name][0], problem, f"{what}: {name}, after {moment:.2f} s")
    return row


def _replaced(case, base, commands, known, rng, videos, how):
    """A source gets other content of the same size and with the same times while `run` works. Afterwards the same
    command ends as one that never saw the old content.
    """
    row, made = Row(f"source replaced, same size and times, {how}"), commands["run"]
    path, old, new = videos / "v1.mp4", videos.parent / "old.mp4", videos.parent / "new.mp4"
    shutil.copy2(path, old)
    _soak.write_video(new, 77)
    _same_size(old, new)
    _put(old, path, "renamed over")
    times = path.stat()
    _put(new, path, how, times)
    wanted, _ = undisturbed(made, case, base)
    for _ in range(3):
        row.wanted += 1
        _put(old, path, how, times)
        _soak.fresh(case, base, ())
        moment = rng.uniform(0.2, 0.95) * known["run"][1].seconds
        row.add(_soak.run(made.words, case, moment, lambda: _put(new, path, how, times)))
        _put(new, path, how, times)
        _finish(row, made, case, wanted, "", f"source {how} after {moment:.2f} s")
    return row


def _finish(row, made, case, wanted, problem, which):
    """The cause is gone: the same command ends, and its bytes are those of an undisturbed one."""
    row.done += 1
    last = _soak.run(made.words, case)
    row.add(last)
    if last.code:
        problem += f"; afterwards exit code {last.code}: {last.errors.strip()[-300:]}"
    else:
        problem += _soak.differences(wanted, _soak.snapshot(*(case / name for name in made.makes)))
    if problem:
        row.failures.append(f"{which}: {problem}")
    else:
        row.held += 1


@contextmanager
def _mounted(folder, options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def _may_mount(work):
    folder = work / "mount"
    folder.mkdir()
    try:
        with _mounted(folder, "size=1m"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def _remount_read_only(folder):
    """As soon as no file is open for writing."""
    until = time.monotonic() + PATIENCE_S
    while subprocess.run(["mount", "-o", "remount,ro", folder], capture_output=True).returncode:
        if time.monotonic() > until:
            return
        time.sleep(0.01)


def _size(folder):
    """Bytes on a disk of 4096 byte blocks."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


def _same_size(*paths):
    """An empty box at the end of the smaller: players pass over it."""
    size = max(path.stat().st_size for path in paths) + 64
    for path in paths:
        room = size - path.stat().st_size
        with path.open("ab") as file:
            file.write(room.to_bytes(4, "big") + b"free" + bytes(room - 8))


def _put(content, path, how, times=None):
    """Other content under a name. times: what stat says of the file that it must look like."""
    if how == "renamed over":
        shutil.copy2(content, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)
    else:
        with path.open("r+b") as file:
            file.write(content.read_bytes())
    if times:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
