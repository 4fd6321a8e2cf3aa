"""Disks that fill or turn read-only, folders that go away, sources that are replaced, while a command works."""

import os
import shutil
import subprocess
import time
from contextlib import contextmanager, suppress

import _soak
import numpy as np
import pandas as pd
from _soak import Moment, Row
from _soak_cases import cases, ended, fresh, next_try, prepare, repeated, size, undisturbed, write_video

SHARES = (0.1, 0.8)  # of what a command adds: between these is the room that it finds
ROOM = "size=1g"
PATIENCE_S = 5


def disks(work, seed, out_of_time):
    """A row for each kind of disturbance."""
    place = prepare(work)
    commands = cases(place)
    known = {name: undisturbed(made, place) for name, made in commands.items()}
    around = (place, commands, known, np.random.default_rng(seed))
    made = [
        lambda: _filled(*around) if _may_mount(work) else _limited(*around),
        lambda: _full(*around) if _may_mount(work) else Row("disk is full", skipped="no right to mount"),
        lambda: _read_only(*around) if _may_mount(work) else Row("read-only remount", skipped="no right to mount"),
        lambda: _away(*around, place.videos, ("run", "annotate", "export"), "videos go away"),
        lambda: _away(*around, place.case / "run", ("train", "evaluate"), "run goes away under its reader"),
        lambda: _away(*around, place.case / "run", ("run", "annotate", "export"), "run goes away under its writer"),
        lambda: _away(*around, place.case / "model", ("sample",), "checkpoint goes away"),
        *(lambda how=how: _replaced(*around, how) for how in ("renamed over", "written in place")),
    ]
    return [row() if not out_of_time() else Row(f"kind {k + 1}", skipped="out of time") for k, row in enumerate(made)]


def _filled(place, commands, known, rng):
    """Somebody else fills the disk while a command works, but for a share of what the command has to write."""
    row = Row("disk fills up")
    for name, made in commands.items():
        share, moment = rng.uniform(*SHARES), _moment(rng, known[name], 0.3)
        room = max(int(share * known[name].added), 4096)
        with _mounted(place.case, ROOM):
            fresh(place, made.needs)
            first, again = next_try(made, place, row, moment, lambda _, room=room: _fill(place.case / "ballast", room))
            (place.case / "ballast").unlink(missing_ok=True)
            which = f"{name}, room for {share:.0%} of what it writes is left {moment}"
            _finish(row, made, place, known[name], first, again, which)
    return row


def _full(place, commands, known, _):
    """A disk that is too small from the start, and then grows."""
    row = Row("disk is full")
    for name, made in commands.items():
        fresh(place, made.needs)
        room = size(place.case) + max(int(0.1 * known[name].added) // 4096, 1) * 4096
        fresh(place, ())
        with _mounted(place.case, f"size={room}"):
            fresh(place, made.needs)
            first, again = next_try(made, place, row)
            subprocess.run(["mount", "-o", f"remount,{ROOM}", place.case], check=True)
            _finish(row, made, place, known[name], first, again, f"{name}, a tenth of the room")
    return row


def _limited(place, commands, known, _):
    """The same without the right to mount: no file may grow beyond a size."""
    row = Row("files may not grow (no right to mount)")
    for name, made in commands.items():
        fresh(place, made.needs)
        first, again = next_try(made, place, row, limit_bytes=2000)
        _finish(row, made, place, known[name], first, again, f"{name}, files up to 2000 bytes")
    return row


def _read_only(place, commands, known, rng):
    """A disk that turns read-only at a random moment, and back."""
    row = Row("read-only remount")
    for name, made in commands.items():
        fresh(place, ())
        with _mounted(place.case, ROOM):
            fresh(place, made.needs)
            moment = _moment(rng, known[name], 0.8)
            first, again = next_try(made, place, row, moment, lambda _: _remount_read_only(place.case))
            subprocess.run(["mount", "-o", "remount,rw", place.case], check=True)
            _finish(row, made, place, known[name], first, again, f"{name}, {moment}")
    return row


def _away(place, commands, known, rng, folder, names, what):
    """A folder has no name from a random moment until the command has ended."""
    row, away = Row(what), folder.with_name(f"{folder.name}.away")
    for name in names:
        made, moment = commands[name], _moment(rng, known[name], 0.8)
        fresh(place, made.needs)
        first, again = next_try(made, place, row, moment, lambda _: folder.exists() and folder.rename(away))
        if away.exists():
            shutil.rmtree(folder, ignore_errors=True)
            away.rename(folder)
        _finish(row, made, place, known[name], first, again, f"{what}: {name}, {moment}")
    return row


def _replaced(place, commands, known, rng, how):
    """A source gets other content of the same size and with the same times while `run` works. The command may refuse
    it, but no id ever stands for other pictures than its own; the next one ends as one that never saw the old content.
    What was made of the old content may lie in the run as long as no table of it speaks of it: it spares the work where
    the old content comes back.
    """
    row, made, videos = Row(f"source replaced, same size and times, {how}"), commands["run"], place.videos
    path, old, new = videos / "v1.mp4", videos.parent / "old.mp4", videos.parent / "new.mp4"
    shutil.copy2(path, old)
    write_video(new, 77)
    _same_size(old, new)
    times = path.stat()
    contents = []
    for content in (old, new):
        _put(content, path, how, times)
        contents.append((undisturbed(made, place), _pictures(place.case / "run")))
    (_, of_old), (wanted, of_new) = contents
    old_id = next(iter({row[0] for row in of_old.values()} - {row[0] for row in of_new.values()}))
    for _ in range(3):
        _put(old, path, how, times)
        fresh(place, ())
        moment = _moment(rng, known["run"], 0.95)
        first, again = next_try(made, place, row, moment, lambda _: _put(new, path, how, times))
        _put(new, path, how, times)
        again += _wrong(_pictures(place.case / "run"), of_old | of_new)
        done, more = next_try(made, place, row)
        for left in place.case.glob(f"run/**/{old_id}-*.parquet"):
            left.unlink()
        said = f"{_soak.one_line(first)}; " if first.code else ""
        row.wanted += 1
        row.judge(f"source {how}, {moment}", said + again + more + ended(place, done, [first.group], wanted))
    _put(old, path, how, times)
    return row


def _wrong(found, known):
    """How many ids stand for other pictures than their own. What was not exported has no hash yet."""
    names = [k for k, row in found.items() if k not in known or not all(map(_same, row, known[k]))]
    return f"{len(names)} ids with other pictures; " if names else ""


def _same(found, known):
    return pd.isna(found) or found == known


def _pictures(run):
    """Clip id -> its video, its length, what its pictures gave, and the hash of the exported file."""
    if not (run / "manifest.parquet").exists():
        return {}
    rows = pd.read_parquet(run / "manifest.parquet")
    columns = [name for name in ("n_frames", "motion", "sha256") if name in rows]
    return {row["clip_id"]: (row["video_id"], *(row[name] for name in columns)) for row in rows.to_dict("records")}


def _moment(rng, known, until):
    """At work, up to this share of what the work takes in peace."""
    return Moment(known.began_s + rng.uniform(0.0, until) * (known.cpu_s - known.began_s))


def _finish(row, made, place, known, first, problem, which):
    """The cause is gone: where it had ended the command, that was said in one line, and the same command ends as in
    peace.
    """
    if first.code:
        problem += f"{said}; " if (said := _soak.one_line(first)) else ""
    row.wanted += 1
    row.judge(which, problem + repeated(made, place, row, [first.group], known))


@contextmanager
def _mounted(folder, options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def _may_mount(work):
    folder = work / "mount"
    folder.mkdir(exist_ok=True)
    try:
        with _mounted(folder, "size=1m"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def _fill(path, room):
    """A file that leaves so much room on its disk. The command may take some of it at the same moment."""
    with path.open("wb") as file:
        for _ in range(9):
            facts = os.statvfs(path.parent)
            with suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, max(facts.f_bavail * facts.f_frsize - room, 4096))
                return


def _remount_read_only(folder):
    """As soon as no file is open for writing."""
    until = time.monotonic() + PATIENCE_S
    while subprocess.run(["mount", "-o", "remount,ro", folder], capture_output=True).returncode:
        if time.monotonic() > until:
            return
        time.sleep(0.01)


def _same_size(*paths):
    """An empty box at the end of the smaller: players pass over it."""
    largest = max(path.stat().st_size for path in paths) + 64
    for path in paths:
        room = largest - path.stat().st_size
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
            file.truncate()
    if times:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
