"""The local engine: a crash, a hang and an exception each cost only themselves, and everything comes back once."""

import os
import signal
import time
from collections import Counter

import pytest

from curate.engines.local import LocalEngine


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
    return {"number": number, "pid": os.getpid()}


def nothing():
    pass


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
    engine = LocalEngine(workers=1, recycle_after=2)
    pids = Counter(o.value["pid"] for o in engine.map(work, [("ok", i) for i in range(6)], lambda _: 60.0, nothing))
    assert len(pids) >= 3
    assert max(pids.values()) <= 2


def test_leaving_early_kills_the_workers():
    engine = LocalEngine(workers=2)
    stream = engine.map(work, [("ok", 0), ("hang", 1), ("hang", 2)], lambda _: 600.0, nothing)
    first = next(stream)
    stream.close()
    assert first.status == "ok"
    deadline = time.monotonic() + 20
    while is_alive(first.value["pid"]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_alive(first.value["pid"])


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
