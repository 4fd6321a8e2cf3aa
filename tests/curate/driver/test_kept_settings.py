"""What `curate filter` and `curate export` set stays until somebody asks for something else; there is a way back."""

import json
import time
from datetime import datetime
from pathlib import Path

import pytest
from helpers.commands import curate, invoke, one_line
from helpers.tiny_videos import quick, write_tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run of two videos, exported at their own size; the videos lie in `in` beside it."""
    folder = tmp_path_factory.mktemp("kept")
    for seed in range(2):
        write_tiny(folder / "in" / f"{seed}.mp4", seed)
    again(folder / "run", "--no-export")
    return folder / "run"


def again(run: Path, *more: str) -> str:
    return curate("run", run.parent / "in", "--out", run, *quick(), *more).stdout


def state(run: Path) -> tuple[str, int, int]:
    """Policy, clips kept, short side of the export."""
    facts = json.loads((run / "run.json").read_text())
    return facts["policy"], facts["counts"]["kept"], facts["config"]["export"]["short_side_px"]


def test_the_size_of_an_export_stays_and_another_setting_ends_it(run: Path):
    curate("export", run, "--size", 32)
    said = again(run)
    assert "export stays as `curate export` set it: short_side_px=32\n" in said
    assert state(run)[2] == 32
    curate("annotate", run, "--only", "phash")
    assert "export stays" in again(run, "--no-export")
    said = again(run, "--no-export", "--set", "export.short_side_px=48")
    assert "what `curate export` set does not stay (short_side_px=32)" in said
    assert state(run)[2] == 48
    assert "stay" not in again(run, "--no-export"), "that was this command's, not an export's"
    assert state(run)[2] == 256


def test_the_times_of_a_run_hold_its_export(run: Path):
    before = time.time()
    again(run, "--set", "export.short_side_px=40")
    facts = json.loads((run / "run.json").read_text())
    finished = datetime.fromisoformat(facts["finished_at"]).timestamp()
    written = max(path.stat().st_mtime for path in (run / "shards").glob("*.tar"))
    assert written > before
    assert finished >= int(written)
    assert facts["seconds"] < time.time() - before + 1


def test_a_policy_is_found_again_by_the_name_of_its_decisions(run: Path):
    said = curate("filter", run, "--set", "motion.min=100", "--name", "strict").stdout
    assert state(run)[:2] == ("strict", 0)
    assert "policy strict decides the run from now on, where default did" in said
    curate("filter", run)
    assert state(run)[:2] == ("default", 2)
    curate("filter", run, "--policy", "strict")
    assert state(run)[:2] == ("strict", 0)
    one_line(invoke("curate", "filter", run, "--policy", "strikt"), "there is no preset 'strikt'")
    curate("filter", run)


def test_a_run_grows_by_a_folder_under_its_own_settings(run: Path, tmp_path: Path):
    curate("export", run, "--size", 32)
    before = json.loads((run / "run.json").read_text())
    write_tiny(tmp_path / "more" / "new.mp4", 7)
    said = curate("run", tmp_path / "more", "--out", run).stdout
    assert f"settings of {run} stay (preset default, with its changes)" in said
    assert "2 files (0.mp4, 1.mp4) of earlier commands: not found here, kept in the run" in said
    assert "2 of 3 videos are up to date" in said
    assert "export stays as `curate export` set it: short_side_px=32" in said
    after = json.loads((run / "run.json").read_text())
    assert after["config"] == before["config"]
    assert after["counts"]["files"] == 3
    said = curate("run", run.parent / "in", "--out", run, "--remove-missing", "--no-export").stdout
    assert "1 file (new.mp4) of earlier commands: not found here, taken out of the run" in said
    again(run)
    assert "settings of" not in again(run)
