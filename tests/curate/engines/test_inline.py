"""The engine without workers: what a task raises is an outcome, and this process is as it was afterwards."""

import errno

import cv2
import pytest

from clipmill.curate.engines import prepare_worker
from clipmill.curate.engines.by_name import engine_of
from clipmill.curate.engines.options import RunOptions
from clipmill.curate.errors import UserError


def work(task):
    if isinstance(task, Exception):
        raise task
    return task, cv2.getNumThreads()


def outcomes(tasks):
    return list(engine_of(RunOptions(engine="inline")).map(work, tasks, lambda _: 60.0, prepare_worker))


def test_every_task_comes_back_in_order_whatever_it_raises():
    before = cv2.getNumThreads()
    found = outcomes([1, ValueError("two\nlines"), 2])
    assert [outcome.status for outcome in found] == ["ok", "error", "ok"]
    assert found[1].message == "ValueError: two lines"
    assert [outcome.value for outcome in found if outcome.value] == [(1, 1), (2, 1)]
    assert cv2.getNumThreads() == before


@pytest.mark.parametrize(
    ("raised", "says"), [(UserError("no weights"), "no weights"), (OSError(errno.ENOSPC, "No space"), "disk is full")]
)
def test_what_every_task_would_meet_ends_them_all(raised, says):
    with pytest.raises(UserError, match=says):
        outcomes([1, raised, 2])


def test_the_environment_chooses_and_a_strange_name_is_one_line(monkeypatch):
    monkeypatch.setenv("CLIPMILL_ENGINE", "inlin")
    with pytest.raises(UserError, match="no engine called 'inlin'; did you mean"):
        engine_of(RunOptions())
