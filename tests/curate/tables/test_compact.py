"""Parts gathered in buckets: the same rows, whole or not at all, from a run that is there already."""

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from helpers.commands import curate, invoke, one_line
from helpers.tiny_videos import quick

from clipmill.curate import Run
from clipmill.curate.tables import compact as compacting
from clipmill.curate.tables.compact import compact
from clipmill.curate.tables.run_dir import RunDir

SCHEMA = pa.schema([("clip_id", pa.string()), ("score", pa.float32()), ("later", pa.string())])


def rows_of(unit: str, n: int, score: float = 1.0, later: bool = True) -> pa.Table:
    ids = pa.array([f"{unit}-{i}" for i in range(n)], pa.string())
    rows = pa.table({"clip_id": ids, "score": pa.array([score] * n, pa.float32())})
    return rows.append_column("later", pa.array(["x"] * n, pa.string())) if later else rows


def made(root: Path, units: int = 40) -> tuple[RunDir, dict[str, pa.Table]]:
    """A table of so many units, by two fingerprints, whose ids are spread over the hex digits; some have no rows."""
    run, expected = RunDir(root), {}
    for k in range(units):
        unit = f"{k * 37 % 256:02x}{k:02d}"
        expected[unit] = rows_of(unit, k % 4, k, later=k % 3 > 0)
        run.write("clips", unit, "new", expected[unit])
        if k % 5 == 0:
            run.write("clips", unit, "old", rows_of(unit, 1))
    return run, expected


def all_rows(run: RunDir, units: list[str], fingerprint: str = "new") -> pa.Table:
    """By one reading of all, after a look that each by itself is the same."""
    whole = run.read("clips", units, fingerprint, SCHEMA)
    single = [run.rows("clips", unit, fingerprint, SCHEMA) for unit in units]
    assert whole.equals(pa.concat_tables([table for table in single if table is not None]))
    assert run.done("clips", fingerprint) == {u for u, t in zip(units, single, strict=True) if t is not None}
    return whole


@pytest.fixture(autouse=True)
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacting, "_PER_BUCKET", 6)
    monkeypatch.setattr("clipmill.curate.tables.buckets._GROUP_ROWS", 4)


def test_rows_are_the_same_in_fewer_files_and_again_after_more_parts(tmp_path: Path):
    run, expected = made(tmp_path)
    units = list(expected)
    before, old = all_rows(run, units), run.done("clips", "old")
    done = compact(run)
    assert done.before == 48 > done.after == len(list((tmp_path / "clips").iterdir()))
    assert all_rows(run, units).equals(before)
    assert run.done("clips", "old") == old
    assert compact(run).before == done.after == compact(run).after
    names = {path.name: path.read_bytes() for path in (tmp_path / "clips").iterdir()}
    again, _ = made(tmp_path / "again")
    compact(again)
    assert {path.name: path.read_bytes() for path in (tmp_path / "again" / "clips").iterdir()} == names

    run.write("clips", units[3], "new", rows_of(units[3], 3, 99.0))
    assert run.rows("clips", units[3], "new")["score"].to_pylist() == [99.0] * 3
    for k in range(100):  # so many that ids need another digit
        run.write("clips", f"{k:02d}zz", "new", rows_of(f"{k:02d}zz", 1))
    more = [*units, *(f"{k:02d}zz" for k in range(100))]
    before = all_rows(run, more)
    compact(run)
    assert all_rows(run, more).equals(before)
    assert {len(path.name.partition("-")[0]) for path in (tmp_path / "clips").glob("_*-new.parquet")} == {3}


class Stopped(BaseException):
    """The process ends here."""


def test_a_compaction_that_is_stopped_anywhere_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Before and after each rename and each removal of a file."""
    steps = [0]

    def stopping(was, at: list[int]):
        def step(*arguments, **named):
            steps[0] += 1
            if steps[0] == at[0]:
                raise Stopped
            return was(*arguments, **named)

        return step

    at = [0]
    monkeypatch.setattr(os, "replace", stopping(os.replace, at))
    monkeypatch.setattr(Path, "unlink", stopping(Path.unlink, at))
    made(tmp_path / "run", 9)
    run, expected = RunDir(tmp_path / "run"), made(tmp_path / "whole", 9)[1]
    before, stops = all_rows(run, list(expected)), 0
    while True:
        steps[0], at[0] = 0, stops + 1
        shutil.rmtree(tmp_path / "try", ignore_errors=True)
        shutil.copytree(run.root, tmp_path / "try")
        stopped = RunDir(tmp_path / "try")
        try:
            compact(stopped)
            break
        except Stopped:
            stops += 1
        assert all_rows(stopped, list(expected)).equals(before)
        at[0] = 0
        compact(stopped)
        assert all_rows(stopped, list(expected)).equals(before)
    assert stops > 10


def test_units_leave_a_bucket_and_other_fingerprints_go_whole(tmp_path: Path):
    run, expected = made(tmp_path)
    units = list(expected)
    compact(run)
    run.remove("clips", units[:7], "new")
    assert run.done("clips", "new") == set(units[7:])
    assert all_rows(run, units).equals(run.read("clips", units[7:], "new", SCHEMA))
    run.remove_others("clips", dict.fromkeys(units, "new"))
    assert run.done("clips", "old") >= set(units[:7:5])  # what replaces them is not there
    for unit in units[:7]:
        run.write("clips", unit, "new", expected[unit])
    run.remove_others("clips", dict.fromkeys(units, "new"))
    assert not run.done("clips", "old")


def test_damage_is_told_and_only_what_is_damaged_is_lost(tmp_path: Path):
    run, expected = made(tmp_path)
    units, said = list(expected), []
    bad = run.part("clips", units[5], "new")
    bad.write_bytes(bad.read_bytes()[:-9])
    compact(run, said.append)
    assert [bad.name in line for line in said] == [True]
    assert run.damaged("clips", "new") == {units[5]}
    bucket = sorted((tmp_path / "clips").glob("_*-new.parquet"))[0]
    held = {u for u, found in run.listing("clips").of("new").holders.items() if found.path == bucket}
    bucket.write_bytes(bucket.read_bytes()[:-9])
    assert run.remove_lost("clips") == [bucket]
    assert run.done("clips", "new") == set(units) - held


@pytest.fixture
def runs(tiny_run: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A run as it was made, and the same compacted."""
    loose, few = tmp_path / "loose", tmp_path / "few"
    for run in (loose, few):
        shutil.copytree(tiny_run, run)
    assert "files of the run's tables" in curate("compact", few).stdout
    return loose, few


def test_commands_say_the_same_of_a_compacted_run(runs: tuple[Path, Path], tmp_path: Path):
    """And what they write holds the same bytes; nothing is decoded again."""
    loose, few = runs
    inputs = Run(few).facts["inputs"]
    assert all(path.name.startswith(("_", "unprocessed")) for path in (few / "videos").iterdir())
    clip = Run(few).arrow(columns=["clip_id"])["clip_id"][3].as_py()
    for words in (("inspect", clip), ("cuts",), ("report",), ("annotate", "--only", "phash"), ("export",)):
        said = [curate(words[0], run, *words[1:]).stdout.replace(str(run), "RUN") for run in runs]
        assert said[0] == said[1]
    done = curate("run", *inputs, "--out", few, *quick())
    assert "10 of 10 videos are up to date" in done.stdout + done.stderr
    for name in ("manifest.parquet", "videos.parquet", "shards.parquet", "decisions/default.parquet"):
        assert (few / name).read_bytes() == (loose / name).read_bytes()


def test_a_folder_that_is_no_run(tmp_path: Path):
    one_line(invoke("curate", "compact", tmp_path / "absent"), "no folder")
