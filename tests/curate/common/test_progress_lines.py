"""Progress where there is no terminal: whole lines, with what is left."""

import pytest

from clipmill.curate.common import log
from clipmill.curate.common.log import Progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that the test sets."""
    now = [100.0]
    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])
    return now


def test_lines_say_what_is_left_and_have_no_stray_ends(clock):
    lines = []
    bar = Progress("exporting", 100, "videos", lines.append)
    bar.start()
    bar.advance(20)  # found from before
    clock[0] += 11
    bar.advance(10)
    clock[0] += 11
    bar.advance(10, "3 errors")
    clock[0] += 11
    bar.advance(60)
    assert lines == [
        "exporting: 30 of 100 videos; about 77 s left",
        "exporting: 40 of 100 videos; 3 errors; about 66 s left",
        "exporting: 100 of 100 videos",
    ]


def test_an_amount_that_shows_late_is_told_when_the_work_begins(clock):
    lines = []
    bar = Progress("encoding", 1, "windows", lines.append)
    bar.start()
    clock[0] += 300
    bar.reach(0, 1_728_000)
    clock[0] += 100
    bar.reach(864_000, 1_728_000)
    assert lines == ["encoding: 0 of 1728000 windows", "encoding: 864000 of 1728000 windows; about 2 min left"]
