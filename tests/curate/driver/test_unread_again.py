"""A video that could not be read when it was its turn is tried again as soon as it can be, and only then."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers.commands import contents, curate
from helpers.tiny_videos import quick, write_tiny

from clipmill.curate.decode.unread import unread
from clipmill.curate.decode.worker import process_video
from clipmill.curate.driver.listing import list_inputs, listing_of
from clipmill.curate.driver.videos import tasks_of
from clipmill.curate.engines.options import RunOptions
from clipmill.curate.export.record import RECORD
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import config_of

pytestmark = pytest.mark.slow


OPTIONS = RunOptions(workers=1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """in/0.mp4, in/1.mp4 and a run of them, exported."""
    folder = tmp_path_factory.mktemp("unread")
    for seed in range(2):
        write_tiny(folder / "in" / f"{seed}.mp4", seed)
    curate("run", folder / "in", "--out", folder / "run", "--export", *quick())
    return folder


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Path:
    """The videos, and a copy of the run, at which a test works."""
    shutil.copytree(finished / "run", tmp_path / "run")
    (tmp_path / "in").symlink_to(finished / "in")
    return tmp_path


def tables(run: Path) -> dict[str, bytes]:
    """All but logs and times."""
    volatile = ("report.html", "run.jsonl", "run.json", "index.parquet")
    return {name: data for name, data in contents(run).items() if name not in volatile}


def tried_while_away(tasks, path: Path) -> None:
    """Each task of this video, while it has no name."""
    path.rename(path.with_suffix(".away"))
    try:
        for task in tasks:
            if Path(task.path) == path:
                assert process_video(task)["status"] == "error"
    finally:
        path.with_suffix(".away").rename(path)


def statuses(run: Path) -> list[str]:
    return sorted(pq.read_table(run / "videos.parquet")["status"].to_pylist())


def test_a_video_that_was_away_is_decoded_by_the_next_run(finished, tmp_path):
    out, config = RunDir(tmp_path / "run"), config_of(RunDir(finished / "run"))
    out.scratch.mkdir(parents=True)
    listing = list_inputs([finished / "in"], out, OPTIONS)
    tried_while_away(tasks_of(listing, out, config, OPTIONS), finished / "in" / "1.mp4")
    assert list(unread(out).values()) == [{"base"}]
    curate("run", finished / "in", "--out", out.root, "--export", *quick())
    assert statuses(out.root) == ["ok", "ok"]
    assert tables(out.root) == tables(finished / "run")


def test_as_long_as_it_is_away_its_row_stays(finished, tmp_path):
    out, config = RunDir(tmp_path / "run"), config_of(RunDir(finished / "run"))
    videos = shutil.copytree(finished / "in", tmp_path / "in")
    out.scratch.mkdir(parents=True)
    listing = list_inputs([videos], out, OPTIONS)
    tried_while_away(tasks_of(listing, out, config, OPTIONS), videos / "1.mp4")
    listing = list_inputs([videos], out, OPTIONS)
    (videos / "1.mp4").unlink()
    assert [Path(task.path).name for task in tasks_of(listing, out, config, OPTIONS)] == ["0.mp4"]
    curate("run", videos, "--out", out.root, "--export", *quick())
    assert unread(out) == {}, "what has left the run is not remembered"


def test_an_annotator_that_could_not_read_its_video_is_asked_again(finished, tmp_path):
    whole, other = (shutil.copytree(finished / "run", tmp_path / name) for name in ("whole", "other"))
    curate("annotate", whole, "--only", "quality")
    run, config = RunDir(other), config_of(RunDir(whole))
    listing = listing_of(run, [str(finished / "in")])
    tried_while_away(tasks_of(listing, run, config, OPTIONS), finished / "in" / "1.mp4")
    assert list(unread(run).values()) == [{"quality"}]
    curate("annotate", other, "--only", "quality")
    assert tables(other) == tables(whole)


def test_a_source_that_is_back_is_exported(finished, tmp_path):
    videos, run = shutil.copytree(finished / "in", tmp_path / "in"), tmp_path / "run"
    curate("run", videos, "--out", run, "--export", *quick())
    (videos / "1.mp4").rename(tmp_path / "kept")
    write_tiny(videos / "1.mp4", 7)
    assert "1 clip could not be exported" in curate("export", run, "--fps", 12).stdout
    (videos / "1.mp4").unlink()
    assert "(up to date); 1 clip could not be exported" in curate("export", run, "--fps", 12).stdout
    (tmp_path / "kept").rename(videos / "1.mp4")
    assert "2 clips in" in curate("export", run, "--fps", 12).stdout
    assert json.loads((run / RECORD).read_text())["failed"] == 0


def test_parts_that_other_settings_made_are_gone_after_a_command(finished, tmp_path):
    run = shutil.copytree(finished / "run", tmp_path / "run")
    before = {name for name in tables(run) if "/" in name}
    curate("run", finished / "in", "--out", run, "--export", *quick("scenes.min_length_s=0.4", "export.fps=12"))
    after = {name for name in tables(run) if "/" in name}
    assert len(after) == len(before)
    assert {name.partition("/")[0] for name in before ^ after} >= {"clips", "videos", "exports", "shards"}


def test_a_source_that_was_replaced_in_mid_run_is_taken_as_it_is_by_the_next_one(finished, tmp_path):
    out, config = RunDir(tmp_path / "run"), config_of(RunDir(finished / "run"))
    videos = shutil.copytree(finished / "in", tmp_path / "in")
    out.scratch.mkdir(parents=True)
    tasks = {task.relpath: task for task in tasks_of(list_inputs([videos], out, OPTIONS), out, config, OPTIONS)}
    write_tiny(tmp_path / "new.mp4", 7).replace(videos / "1.mp4")
    assert [process_video(tasks[name])["status"] for name in ("0.mp4", "1.mp4")] == ["ok", "error"]
    for name in ("run", "fresh"):
        curate("run", videos, "--out", tmp_path / name, "--export", *quick())
    old = tasks["1.mp4"].video_id
    found = {name: data for name, data in tables(out.root).items() if old not in name}
    assert found == tables(tmp_path / "fresh")
    assert old not in pq.read_table(out.manifest)["video_id"].to_pylist()
    assert unread(out) == {}
