"""benchmarks/soak.py finds what it looks for: a small command that works as ours shall, and ones that do not."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import _soak
import _soak_cases
import _soak_compare
import _soak_kills
import pyarrow as pa
import pyarrow.parquet as pq

pytestmark = pytest.mark.slow


UNITS = 8
# Units of work, each a file that is there whole or not at all; `bad` is what it does wrong.
COMMAND = """
import os, pathlib, subprocess, sys, tempfile, time

def busy():
    until = time.process_time() + 0.04
    while time.process_time() < until:
        pass

bad = sys.argv[1]
busy()
for number in range({units}):
    path = pathlib.Path(f"out/{{number:032d}}-made.txt")
    if path.exists() and bad != "again":
        continue
    path.parent.mkdir(exist_ok=True)
    busy()
    part = path.with_suffix(f".{{os.getpid()}}" if bad == "partial" else ".part")
    part.write_text(f"{{number}} {{time.time() if bad == 'time' else ''}}")
    part.replace(path)
    if bad == "temporary" and number == 3:
        tempfile.mkstemp()
if bad == "process":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
if bad == "code":
    raise SystemExit("curate: it does not work")
"""


@pytest.fixture
def killed(tmp_path, monkeypatch):
    """A function of what the command does wrong: what the soak finds after a chain of kills."""
    monkeypatch.setattr(_soak, "_PATIENCE_S", 1)
    place = _soak_cases.Place(*(tmp_path / name for name in ("in", "many", "case", "base")))
    place.case.mkdir()
    code = COMMAND.format(units=UNITS)

    def find(bad: str, moments=(0.12, 0.12)) -> tuple[_soak.Row, list[str]]:
        made = _soak_cases.Case("toy", [sys.executable, "-c", code, ""], (), ("out",), ("out/*-*.txt",))
        known = _soak_cases.undisturbed(made, place)
        assert known.cpu_s > known.began_s > 0
        _soak_cases.fresh(place, ())
        wrong = _soak_cases.Case("toy", [*made.words[:-1], bad], (), ("out",), made.units)
        row = _soak.Row("toy")
        chain = [(_soak.Moment(known.began_s + seconds), _soak.kill_alone) for seconds in moments]
        _soak_kills._chain(wrong, place, row, chain, known)
        return row, row.failures

    return find


def test_a_command_that_goes_on_holds(killed):
    row, failures = killed("")
    assert failures == []
    assert (row.done, row.held, row.idle, row.again) == (2, 2, 0, 0)
    assert row.cpu_s > 0.3


@pytest.mark.parametrize(
    ("bad", "found"),
    [
        ("again", "finished units were made again"),
        ("time", "other bytes: out/"),
        ("process", "a process is left"),
        ("code", "exit code 1: curate: it does not work"),
    ],
)
def test_what_is_wrong_is_found(killed, bad, found):
    row, failures = killed(bad)
    assert found in failures[0]
    assert row.held == 0


def test_what_a_killed_command_leaves_is_found(killed):
    assert "left in TMPDIR: tmp" in killed("temporary", (0.3,))[1][0]
    rows = [killed("partial", (0.02 * k,)) for k in range(6)]
    assert all("left over: out/" in failure for _, failures in rows for failure in failures)


def test_a_kill_before_the_first_file_counts_as_one(killed):
    row, failures = killed("", (-10.0,))  # at once: how many CPU seconds a start takes is another each time
    assert failures == []
    assert (row.done, row.idle) == (1, 1)


def test_half_of_the_kills_are_of_the_first_process_alone_and_most_come_at_work():
    known = _soak_cases.Known({}, 10.0, 4.0, 0, set())
    kills = [_soak_kills._kill(np.random.default_rng(k), known, 0) for k in range(300)]
    assert 120 < sum(how is _soak.kill_alone for _, how in kills) < 180
    assert sum(moment.cpu_s < known.began_s for moment, _ in kills) < 70
    assert all(0 <= moment.cpu_s < known.cpu_s for moment, _ in kills)


def test_training_that_loses_more_than_one_interval_is_found():
    from _soak_compare import steps_lost

    log = '{"step": 75}\n{"step": 80}\n'
    assert steps_lost("demo: 1 parameters on cpu\n  going on from step 40\n", log) == 40
    assert steps_lost("demo: 1 parameters on cpu\n", log) == 80, "it began anew"
    assert steps_lost("", log) == 0, "it did not come so far as to say"


def test_a_table_of_a_source_that_was_away_is_no_finished_work(tmp_path):
    """It is made again, rightly."""
    run = tmp_path / "run"
    for table, unit, status in (("exports", "a", "ok"), ("exports", "b", "unread"), ("clips", "a", "ok"),
                                ("clips", "c", "error")):  # fmt: skip
        (run / table).mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"status": [status]}), run / table / f"{unit}-0.parquet")
    (run / ".unread").mkdir()
    (run / ".unread" / "c").write_text("base\n")
    found = _soak_compare.finished(tmp_path, ("run/clips/*-*.parquet", "run/exports/*-*.parquet"))
    assert [unit for (_, unit), _ in found.values()] == ["a", "a"]
