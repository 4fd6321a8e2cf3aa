"""The local engine: a crash, a hang and an exception each cost only themselves, and everything comes back once."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from helpers.tiny_videos import quick, write_tiny

from clipmill.curate.engines import worker
from clipmill.curate.engines.local import LocalEngine
from clipmill.curate.engines.signs import got_on, heard
from clipmill.curate.errors import UserError

pytestmark = pytest.mark.slow


def refused():
    raise OSError("not here")


class Unreadable:
    def __reduce__(self):
        return refused, ()


def work(task):
    kind, number = task
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "exit":
        os._exit(3)
    if kind == "hang":
        time.sleep(600)
    if kind == "raise":
        raise ValueError("two\nlines")
    if kind == "slow":  # for as long as `number` signs take
        for _ in range(number):
            time.sleep(1.1)
            got_on()
    if kind == "leave":
        sys.exit(4)
    if kind == "mistake":
        raise UserError("there are no weights")
    if kind == "full disk":
        raise OSError(errno.EDQUOT, "Disk quota exceeded")
    if kind == "unpicklable":
        return threading.Lock()
    if kind == "unreadable":
        return Unreadable()
    if kind == "large":
        return bytes(number)
    if kind == "die when idle":
        threading.Timer(0.2, os._exit, (5,)).start()
    return {"number": number, "pid": os.getpid()}


def nothing():
    pass


def unprepared():
    raise OSError("no library")


def mistaken():
    raise UserError("there are no weights")


def never_ready():
    time.sleep(600)


def everything(tasks, prepare=nothing, workers=2, limit_s=60.0):
    return list(LocalEngine(workers).map(work, tasks, lambda _: limit_s, prepare))


def tasks():
    return [(kind, i) for i, kind in enumerate(["ok", "crash", "ok", "hang", "raise", "ok", "exit", "ok", "ok", "ok"])]


@pytest.fixture(scope="module")
def outcomes():
    engine = LocalEngine(workers=2)
    return list(engine.map(work, tasks(), lambda t: 3.0 if t[0] == "hang" else 60.0, nothing))


def test_every_task_comes_back_exactly_once(outcomes):
    assert Counter(o.task for o in outcomes) == Counter(tasks())


def test_statuses_say_what_happened(outcomes):
    by_kind = {o.task[0]: o for o in outcomes}
    assert {o.status for o in outcomes if o.task[0] == "ok"} == {"ok"}
    assert (by_kind["crash"].status, by_kind["exit"].status) == ("crashed", "crashed")
    assert "SIGSEGV" in by_kind["crash"].message
    assert "exit code 3" in by_kind["exit"].message
    assert by_kind["hang"].status == "timeout"
    assert "3 s" in by_kind["hang"].message
    assert (by_kind["raise"].status, by_kind["raise"].message) == ("error", "ValueError: two lines")


def test_workers_are_recycled_so_that_leaks_stay_bounded():
    def pids(**settings):
        engine = LocalEngine(workers=1, recycle_after=2, **settings)
        return Counter(o.value["pid"] for o in engine.map(work, [("ok", i) for i in range(6)], lambda _: 60.0, nothing))

    assert len(pids(recycle_s=0)) >= 3
    assert max(pids(recycle_s=0).values()) <= 2
    assert len(pids()) == 1, "small tasks are done sooner than a worker starts"


def test_work_that_gets_on_is_not_killed_however_long_it_takes():
    """A day of slides may be a few megabytes: on the code before it was given up after five minutes."""
    slow, hung = everything([("slow", 4), ("hang", 0)], limit_s=2.5)[::-1]
    assert (slow.task[0], slow.status) == ("slow", "ok")
    assert (hung.status, hung.message) == ("timeout", "killed after 2.5 s in which it did not get on")


def test_signs_are_few_and_stay_within():
    signs = []
    with heard(lambda: signs.append(1)):
        for _ in range(100_000):
            got_on()
    got_on()
    assert len(signs) <= 2


def test_leaving_early_kills_the_workers():
    engine = LocalEngine(workers=2)
    stream = engine.map(work, [("ok", 0), ("hang", 1), ("hang", 2)], lambda _: 600.0, nothing)
    first = next(stream)
    stream.close()
    assert first.status == "ok"
    assert ends(first.value["pid"])


def test_a_crash_is_known_as_one_however_soon_it_comes():
    """Thirty deaths, each right after a task was taken."""
    outcomes = everything([("crash", i) for i in range(15)] + [("ok", 15)])
    assert Counter(o.status for o in outcomes) == {"crashed": 15, "ok": 1}


def test_a_worker_that_dies_idle_costs_no_task():
    outcomes = []
    for outcome in LocalEngine(1).map(work, [("die when idle", 0), ("ok", 1)], lambda _: 60.0, nothing):
        outcomes.append(outcome)
        while outcome.task[1] == 0 and is_alive(outcome.value["pid"]):
            multiprocessing.active_children()  # which buries the dead
            time.sleep(0.02)
    assert [o.status for o in outcomes] == ["ok", "ok"]


def test_what_cannot_be_sent_back_is_an_error_and_what_is_large_can():
    outcomes = {
        o.task[0]: o
        for o in everything([("unpicklable", 0), ("unreadable", 0), ("large", 20_000_000), ("leave", 0), ("ok", 0)])
    }
    assert (outcomes["unpicklable"].status, "cannot pickle" in outcomes["unpicklable"].message) == ("error", True)
    assert (outcomes["unreadable"].status, outcomes["unreadable"].message) == (
        "error",
        "its result cannot be read: OSError: not here",
    )
    assert len(outcomes["large"].value) == 20_000_000
    assert (outcomes["leave"].status, outcomes["leave"].message) == ("crashed", "the worker process died (exit code 4)")
    assert outcomes["ok"].status == "ok"


def test_a_mistake_of_the_user_ends_it_and_any_other_failure_to_prepare_is_told_of_every_task(monkeypatch):
    with pytest.raises(UserError, match="no weights"):
        everything([("ok", 0), ("mistake", 1), ("hang", 2)])
    with pytest.raises(UserError, match="no weights"):
        everything([("ok", 0)], mistaken)
    assert [(o.status, o.message) for o in everything([("ok", 0), ("ok", 1)], unprepared)] == [
        ("error", "OSError: no library")
    ] * 2
    monkeypatch.setattr(worker, "_START_S", 1.0)
    assert [(o.status, "start" in o.message) for o in everything([("ok", 0)], never_ready)] == [("timeout", True)]


def test_a_full_disk_ends_everything_as_one_line():
    with pytest.raises(UserError, match=r"^the disk is full; free some space and run the same command again to go on$"):
        everything([("ok", 0), ("full disk", 1)])


def test_nothing_is_started_for_nothing():
    assert everything([], mistaken) == []


def test_workers_end_with_the_process_that_started_them(tmp_path):
    code = (
        "from test_local import *\n"
        "if __name__ == '__main__':\n"
        "    for outcome in LocalEngine(1).map(work, [('ok', 0), ('ok', 1)], lambda _: 60.0, nothing):\n"
        "        print(outcome.value['pid'], flush=True)\n"
        "        time.sleep(600)\n"
    )
    (tmp_path / "parent.py").write_text(code)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    with subprocess.Popen(
        [sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    assert ends(pid)


def test_a_worker_that_is_busy_ends_with_the_process_that_was_killed(tmp_path):
    """On the code before it went on with its task, beside the worker of the same command asked again."""
    told = tmp_path / "pid"
    code = (
        "from pathlib import Path\n"
        "from test_local import *\n"
        "def busy(path):\n"
        "    Path(path).write_text(str(os.getpid()))\n"
        "    time.sleep(120)\n"
        "if __name__ == '__main__':\n"
        f"    list(LocalEngine(1).map(busy, [{str(told)!r}], lambda _: 60.0, nothing))\n"
    )
    (tmp_path / "parent.py").write_text(code)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    with subprocess.Popen([sys.executable, tmp_path / "parent.py"], env=environment) as parent:
        while parent.poll() is None and not (told.exists() and told.read_text()):
            time.sleep(0.05)
        parent.kill()
    assert ends(int(told.read_text()))


def ends(pid):
    deadline = time.monotonic() + 60
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not is_alive(pid)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_script_without_its_guard_is_told_what_it_needs(tmp_path):
    """Each worker of a spawned pool reads the script again, which starts workers again. Seen before: every video became
    an error row.
    """
    write_tiny(tmp_path / "in" / "a.mp4")
    ended = {}
    for engine in ("local", "inline"):
        (tmp_path / "script.py").write_text(
            "from clipmill import curate\n"
            f"curate.run('in', {engine!r}, settings={quick()[1::2]!r}, workers=1, engine={engine!r}, tell=None)\n"
        )
        command = [sys.executable, "script.py"]
        ended[engine] = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ended["local"].returncode == 1
    assert 'if __name__ == "__main__":' in ended["local"].stderr.splitlines()[-1]
    assert ended["inline"].returncode == 0, ended["inline"].stderr
    parts = [len(list((tmp_path / engine / "videos").glob("*-*.parquet"))) for engine in ended]
    assert parts == [0, 1]
