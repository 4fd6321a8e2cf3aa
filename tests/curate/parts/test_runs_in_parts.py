"""`curate run --part`: the same bytes as a plain run, whoever makes the parts and in what order; what died is told."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.commands import contents, curate, invoke, one_line
from helpers.tiny_videos import quick, write_tiny

from clipmill.curate.parts.part import Part
from clipmill.curate.parts.record import PartFiles

VOLATILE = ("report.html", "run.json", "run.jsonl", "index.parquet")


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Six videos with captions, two of them copies of a third under names before and after it; and a file that is
    none.
    """
    folder = tmp_path_factory.mktemp("parts") / "in"
    for number in range(4):
        write_tiny(folder / f"{number}.mp4", number)
        (folder / f"{number}.txt").write_text(f"number {number}")
    for name in ("z/copy.mp4", "a/copy.mp4"):
        (folder / name).parent.mkdir()
        shutil.copy(folder / "1.mp4", folder / name)
    (folder / "no video.mp4").write_text("text")
    return folder


@pytest.fixture(scope="module")
def plain(videos: Path) -> Path:
    """What `curate run` makes of them."""
    curate("run", videos, "--out", videos.parent / "plain", *quick())
    return videos.parent / "plain"


def data(run: Path) -> dict[str, bytes]:
    return {name: content for name, content in contents(run).items() if name not in VOLATILE}


def make(videos: Path, run: Path, part: str, *more: str) -> str:
    return curate("run", videos, "--out", run, "--part", part, *quick(), *more).stdout


def process(videos: Path, run: Path, part: str) -> subprocess.Popen:
    words = ["run", videos, "--out", run, "--part", part, *quick()]
    return subprocess.Popen([sys.executable, "-m", "clipmill.curate.cli", *map(str, words)], stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_two_processes_at_once_make_the_bytes_of_a_plain_run(videos: Path, plain: Path, tmp_path: Path):
    run = tmp_path / "run"
    both = [process(videos, run, part) for part in ("0/2", "1/2")]
    assert [one.wait(timeout=300) for one in both] == [0, 0]
    assert "2 done; 6 of 6 videos made, 1 failed\n" in curate("status", run).stdout
    assert "6 of 6 videos are up to date" not in curate("finish", run).stdout, "copies are one video"
    assert data(run) == data(plain)
    assert not (run / ".parts").exists()
    plain_counts, counts = (json.loads((r / "run.json").read_text())["counts"] for r in (plain, run))
    assert counts == plain_counts
    units = [json.loads(line) for line in (run / "run.jsonl").read_text().splitlines()]
    assert len({event["unit"] for event in units if "relpath" in event}) == 5


@pytest.mark.slow
def test_a_part_that_was_killed_is_told_and_made_again(videos: Path, plain: Path, tmp_path: Path):
    run = tmp_path / "run"
    assert "when all parts are done: curate finish" in make(videos, run, "0/2")
    killed, events = process(videos, run, "1/2"), run / PartFiles(run, Part(1, 2)).events_name
    while "unit" not in (events.read_text() if events.exists() else ""):
        assert killed.poll() is None
        time.sleep(0.005)
    killed.send_signal(signal.SIGSTOP)
    said = curate("status", run).stdout
    assert "1/2  running" in said
    assert f"process {killed.pid} on" in said
    one_line(invoke("curate", "run", videos, "--out", run, "--part", "1/2", *quick()), f"process {killed.pid}")
    one_line(invoke("curate", "finish", run), "1 of the 2 parts", "not done (1/2)")
    one_line(invoke("curate", "run", videos, "--out", run, *quick()), "another command is at work")
    killed.kill()
    killed.wait()
    said = curate("status", run).stdout
    assert "1/2  died" in said
    assert "to run again: 1   (sbatch --array=1)" in said
    one_line(invoke("curate", "finish", run), "1 of the 2 parts")
    assert f"part 1/2: process {killed.pid}" in make(videos, run, "1/2")
    curate("finish", run)
    assert data(run) == data(plain)
    assert [p for p in run.rglob("*") if p.name.endswith(".tmp") or p.name == ".scratch"] == []


def test_parts_in_any_order_with_another_ones_files_left_alone(videos: Path, plain: Path, tmp_path: Path):
    run = tmp_path / "run"
    others = [run / ".scratch" / "node7-1" / "spool", run / "videos" / "x.parquet.node7-1.tmp"]
    for path in others:
        path.parent.mkdir(parents=True)
        path.touch()
    for part in ("2/3", "0/3"):
        make(videos, run, part, "--no-export")
    assert all(path.exists() for path in others)
    one_line(invoke("curate", "finish", run), "1 of the 3 parts", "(1/3)")
    rows = [json.loads(line) for line in curate("status", run, "--json").stdout.splitlines()]
    assert [row["state"] for row in rows] == ["done", "not begun", "done"]
    assert sum(row["n_done"] for row in rows) == sum(row["n_videos"] or 0 for row in rows)
    make(videos, run, "1/3")
    curate("finish", run)
    assert data(run) == data(plain)
    assert not any(path.exists() for path in others), "whoever has the run to himself clears away"


def test_parts_of_other_settings_or_numbers_are_one_line(videos: Path, tmp_path: Path):
    run = tmp_path / "run"
    make(videos, run, "0/2")
    other = quick("scenes.min_length_s=0.4")
    curate("run", videos, "--out", run, "--part", "1/2", *other)
    one_line(invoke("curate", "finish", run), "part 1/2", "another scenes than part 0/2")
    said = one_line(invoke("curate", "run", videos, "--out", run, "--part", "0/3", *quick()), "made in 2 parts")
    assert ".parts" in said
    one_line(invoke("curate", "run", videos, "--out", run, "--part", "0/2", "--dry-run"), "leave out --part")
    one_line(invoke("curate", "status", tmp_path), "is no run directory")
    one_line(invoke("curate", "finish", tmp_path), "is not being made in parts")


def test_a_later_run_adds_to_one_that_was_made_in_parts(videos: Path, tmp_path: Path):
    run, more = tmp_path / "run", tmp_path / "more"
    make(videos, run, "0/1")
    curate("finish", run, "--no-export")
    write_tiny(more / "new.mp4", 9)
    make(more, run, "0/1")
    said = curate("finish", run, "--no-export").stdout
    assert "7 files (0.mp4, 1.mp4, ...) of earlier commands: not found here, kept in the run" in said
    assert json.loads((run / "run.json").read_text())["counts"]["files"] == 8
    assert os.listdir(run / ".leases") == []
