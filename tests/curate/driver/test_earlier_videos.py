"""Folders that are away, closed or left out of a later command: nothing leaves a run unless somebody asks."""

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers.commands import curate, invoke, one_line
from helpers.rights import bound_by_rights
from helpers.tiny_videos import quick, write_tiny

pytestmark = pytest.mark.slow


QUICK = [*quick(), "--no-export"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """in/a/0.mp4, in/b/1.mp4, in/b/2.mp4 and a copy of that, captions of two, and a run of them."""
    folder = tmp_path_factory.mktemp("earlier")
    for name, seed in (("a/0", 0), ("b/1", 1), ("b/2", 2)):
        write_tiny(folder / "in" / f"{name}.mp4", seed)
    shutil.copy(folder / "in" / "b" / "2.mp4", folder / "in" / "b" / "copy.mp4")
    (folder / "in" / "captions.csv").write_text("file,caption\na/0.mp4,zero\nb/1.mp4,one\n")
    curate("run", folder / "in", "--out", folder / "run", *QUICK)
    return folder


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Path:
    """The same at its own place, for a test that changes it."""
    shutil.copytree(finished, tmp_path / "place")
    curate("run", tmp_path / "place" / "in", "--out", tmp_path / "place" / "run", *QUICK)
    return tmp_path / "place"


def rows(run: Path) -> dict[str, str]:
    """relpath -> status of every input file."""
    found = pd.read_parquet(run / "videos.parquet")
    counts = json.loads((run / "run.json").read_text())["counts"]
    assert counts["files"] == len(found) == sum(counts[s] for s in ("ok", "partial", "error", "duplicate"))
    return dict(zip(found["relpath"], found["status"], strict=True))


def clips(run: Path) -> dict[str, str | None]:
    """relpath -> caption of the kept clips."""
    found = pq.read_table(run / "manifest.parquet", columns=["relpath", "caption"]).to_pylist()
    return {row["relpath"]: row["caption"] for row in found}


ALL = {"a/0.mp4": "ok", "b/1.mp4": "ok", "b/2.mp4": "ok", "b/copy.mp4": "duplicate"}
CAPTIONS = {"a/0.mp4": "zero", "b/1.mp4": "one", "b/2.mp4": None}


def test_a_closed_folder_is_a_row_and_what_was_made_of_it_stays(place: Path):
    (place / "in" / "b").chmod(0)
    try:
        with bound_by_rights():
            done = curate("run", place / "in", "--out", place / "run", *QUICK)
            fresh = curate("run", place / "in", "--out", place / "fresh", *QUICK)
            dropping = curate("run", place / "in", "--out", place / "run", "--drop-missing", *QUICK)
    finally:
        (place / "in" / "b").chmod(0o755)
    assert rows(place / "run") == ALL | {"b": "error"}
    assert clips(place / "run") == CAPTIONS
    assert "3 files (b/1.mp4, b/2.mp4, ...)" in done.stdout, done.stdout
    assert "cannot be read now, kept as before (b: this folder cannot be listed: Permission denied)" in done.stdout
    assert "taken out" not in dropping.stdout, "nobody knows whether they are there"
    assert rows(place / "fresh") == {"a/0.mp4": "ok", "b": "error"}
    assert "1 unreadable" in fresh.stdout
    curate("run", place / "in", "--out", place / "run", *QUICK)
    assert rows(place / "run") == ALL, "open again"


def test_a_disk_that_is_away_takes_nothing_along(place: Path):
    (place / "in" / "b").rename(place / "away")
    (place / "in" / "b").mkdir()  # an empty mount point
    done = curate("run", place / "in", "--out", place / "run", *QUICK)
    assert "3 files (b/1.mp4, b/2.mp4, ...) of earlier commands: not found here, kept in the run" in done.stdout
    assert rows(place / "run") == ALL
    assert clips(place / "run") == CAPTIONS
    changed = invoke("curate", "run", place / "in", "--out", place / "run", *QUICK, "--set", "scenes.max_length_s=7")
    one_line(changed, "must decode videos that are not there", "--drop-missing")
    assert clips(place / "run") == CAPTIONS
    curate("run", place / "in", "--out", place / "run", "--retry-errors", *QUICK)
    assert rows(place / "run") == ALL
    dropped = curate("run", place / "in", "--out", place / "run", "--drop-missing", *QUICK)
    assert "3 files (b/1.mp4, b/2.mp4, ...) of earlier commands: not found here, taken out of the run" in dropped.stdout
    assert clips(place / "run") == {"a/0.mp4": "zero"}
    (place / "in" / "b").rmdir()
    (place / "away").rename(place / "in" / "b")
    curate("run", place / "in", "--out", place / "run", *QUICK)
    assert clips(place / "run") == CAPTIONS


def test_a_smaller_list_of_inputs_does_not_empty_a_run(place: Path):
    done = curate("run", place / "in" / "a", "--out", place / "run", *QUICK)
    assert "3 files (b/1.mp4, b/2.mp4, ...) of earlier commands: not found here, kept in the run" in done.stdout
    assert clips(place / "run") == {"0.mp4": "zero", "b/1.mp4": "one", "b/2.mp4": None}
    # Kept ones are done anew where they are there and settings ask for it; their captions are still found.
    (place / "in" / "captions.csv").write_text("file,caption\na/0.mp4,zero\nb/2.mp4,two\n")
    curate("run", place / "in" / "a" / "0.mp4", "--out", place / "run", *QUICK, "--set", "scenes.max_length_s=7")
    assert clips(place / "run") == {"0.mp4": "zero", "b/1.mp4": None, "b/2.mp4": "two"}
    assert set(rows(place / "run")) == {"0.mp4", "b/1.mp4", "b/2.mp4", "b/copy.mp4"}
    curate("run", place / "in" / "a", "--out", place / "run", "--drop-missing", *QUICK)
    assert clips(place / "run") == {"0.mp4": "zero"}


def test_folders_one_after_the_other_make_the_run_of_all(place: Path):
    for name in ("b", "a"):
        curate("run", place / "in" / name, "--out", place / "parts", *QUICK)
    assert set(clips(place / "parts")) == {"0.mp4", "1.mp4", "2.mp4"}
    assert json.loads((place / "parts" / "run.json").read_text())["inputs"] == [
        str(place / "in" / name) for name in ("b", "a")
    ]


def test_what_moved_is_found_and_what_was_replaced_is_said(place: Path):
    (place / "in").rename(place / "new")
    done = curate("run", place / "new", "--out", place / "run", *QUICK)
    assert "earlier commands" not in done.stdout
    assert rows(place / "run") == ALL
    assert json.loads((place / "run" / "run.json").read_text())["inputs"] == [str(place / "new")]
    write_tiny(place / "new" / "a" / "0.mp4", seed=9)
    done = curate("run", place / "new", "--out", place / "run", *QUICK)
    assert "1 file (a/0.mp4): other content than before" in done.stdout
    assert rows(place / "run") == ALL


def test_a_file_that_cannot_be_read_today_keeps_its_clips(place: Path):
    (place / "in" / "a" / "0.mp4").chmod(0)
    with bound_by_rights():
        done = curate("run", place / "in", "--out", place / "run", *QUICK)
        fresh = curate("run", place / "in", "--out", place / "fresh", *QUICK)
    assert "1 file (a/0.mp4): cannot be read now, kept as before (Permission denied)" in done.stdout
    assert rows(place / "run") == ALL
    assert rows(place / "fresh")["a/0.mp4"] == "error", fresh.stdout


def test_equal_names_in_two_inputs_with_equal_content_are_one_video(tmp_path: Path):
    write_tiny(tmp_path / "x" / "v" / "0.mp4")
    shutil.copytree(tmp_path / "x", tmp_path / "y")
    curate("run", tmp_path / "x" / "v", tmp_path / "y" / "v", "--out", tmp_path / "run", *QUICK)
    found = pd.read_parquet(tmp_path / "run" / "manifest.parquet")
    assert found["clip_id"].is_unique
    assert sorted(pd.read_parquet(tmp_path / "run" / "videos.parquet")["status"]) == ["duplicate", "ok"]


def test_links_in_circles_and_pipes_stop_no_run(tmp_path: Path):
    write_tiny(tmp_path / "in" / "0.mp4")
    (tmp_path / "in" / "loop").symlink_to("loop")
    for name in ("pipe", "captions.csv"):
        os.mkfifo(tmp_path / "in" / name)
    done = curate("run", tmp_path / "in", "--out", tmp_path / "run", *QUICK)
    assert rows(tmp_path / "run") == {"0.mp4": "ok", "loop": "error", "pipe": "error"}
    assert "warning: captions.csv: ignored, no regular file" in done.stdout
