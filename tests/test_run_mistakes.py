"""Mistakes around `curate run`, `filter` and `inspect`, by the real commands: one line that names the fix, nothing lost."""

import json
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import curate

from curate.lock import alone

QUICK = ("--no-export", "--set", "annotators=['motion', 'quality', 'caption_attributes']", "--set", "scenes.detector=cascade")
QUICK = (*QUICK, "--set", "policy.text_area=off")


def one_line(done: subprocess.CompletedProcess, *words: str) -> str:
    """The line, after a look at how the command ended."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("curate: ")
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr
    return done.stderr


@pytest.fixture
def copied(demo_run: Path, tmp_path: Path) -> Path:
    """The demo run, to change."""
    return shutil.copytree(demo_run, tmp_path / "run")


@pytest.fixture(scope="module")
def videos(demo_videos: Path, demo_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two smallest of the demo videos that have moving clips. Read-only."""
    folder = tmp_path_factory.mktemp("two")
    with_clips = pd.read_parquet(demo_run / "manifest.parquet").query("motion > 0")["relpath"].unique()
    for path in sorted((demo_videos / name for name in with_clips), key=lambda path: path.stat().st_size)[:2]:
        shutil.copy(path, folder)
    return folder


def cut_short(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def contents(run: Path) -> dict[str, bytes]:
    return {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()}


def test_a_device_that_is_none_or_not_here_is_said_before_any_work(videos: Path, copied: Path, tmp_path: Path):
    out = tmp_path / "new"
    before = contents(copied)
    no_device = "--device is auto, cpu or cuda, not foo"
    one_line(curate("run", videos, "--out", out, "--device", "foo", check=False), no_device)
    one_line(curate("run", videos, "--out", out, "--dry-run", "--device", "foo", check=False), no_device)
    one_line(curate("annotate", copied, "--only", "motion", "--set", "motion.fps=6", "--device", "foo", check=False), no_device)
    if not torch.cuda.is_available():
        one_line(curate("run", videos, "--out", out, "--device", "cuda", check=False), "no CUDA device here")
    assert not out.exists()
    assert contents(copied) == before


def test_a_table_cut_short_is_one_line_that_says_what_to_do(copied: Path):
    clip_id = pd.read_parquet(copied / "manifest.parquet")["clip_id"][0]
    path = cut_short(copied / "manifest.parquet")
    mend = f"cannot read {path}; delete it and run `curate run` again"
    for command in (("filter", copied), ("inspect", copied, clip_id), ("export", copied)):
        one_line(curate(*command, check=False), mend)


def test_inspect_says_which_part_is_cut_short(copied: Path):
    statuses = pd.read_parquet(copied / "manifest.parquet").set_index("clip_id")["score_status"]
    run_json = json.loads((copied / "run.json").read_text())
    failed = next((clip, name) for clip, pairs in statuses.items() for name, status in pairs if status == "error")
    video = failed[0] and pd.read_parquet(copied / "manifest.parquet").set_index("clip_id").loc[failed[0], "video_id"]
    maker = next(maker for maker in run_json["columns"].values() if maker.startswith(f"{failed[1]}."))
    path = cut_short(next((copied / "annotations" / maker).glob(f"{video}-*.parquet")))
    one_line(curate("inspect", copied, failed[0], check=False), f"cannot read {path}; delete it")


@pytest.mark.parametrize("table", ["annotations/motion.v*", "clips", "videos"])
def test_a_part_cut_short_is_told_and_made_again_once_it_is_gone(small_run: Path, videos: Path, tmp_path: Path, table: str):
    run = shutil.copytree(small_run, tmp_path / "run")
    path = max(run.glob(f"{table}/*-*.parquet"), key=lambda path: path.stat().st_size)
    cut_short(path)
    cut_short(run / "manifest.parquet")
    cut_short(run / "index.parquet")
    one_line(curate("run", videos, "--out", run, *QUICK, check=False), f"cannot read {path}; delete it and run `curate run` again")
    path.unlink()
    curate("run", videos, "--out", run, *QUICK)
    tables = ("manifest.parquet", "videos.parquet", "index.parquet", str(path.relative_to(run)))
    assert {name: (run / name).read_bytes() for name in tables} == {name: (small_run / name).read_bytes() for name in tables}


@pytest.fixture(scope="module")
def small_run(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the two videos, with one annotator that decodes and one that does not. Read-only."""
    run = tmp_path_factory.mktemp("small") / "run"
    curate("run", videos, "--out", run, *QUICK)
    return run


def test_missing_scores_name_the_command_that_makes_them(copied: Path):
    said = one_line(curate("filter", copied, "--policy", "svd", check=False), "policy.aesthetics", f"run `curate annotate {copied} --only ")
    assert "aesthetics" in said.rpartition("--only ")[2]
    assert "clip_id" not in said


def test_a_column_that_nobody_makes_lists_each_score_once(copied: Path):
    said = one_line(curate("filter", copied, "--set", "zzzz.min=1", check=False), "policy.zzzz: no such column; there are: ")
    names = said.strip().rpartition("there are: ")[2].split(", ")
    assert names == sorted(set(names))
    assert {"motion", "sharpness", "text_area"} <= set(names)
    assert not {"clip_id", "uri", "sha256", "score_status", "failed_filters", "phash"} & set(names)
    one_line(curate("filter", copied, "--set", "motoin.min=1", check=False), "did you mean 'motion'?")


def test_a_threshold_among_the_settings_is_led_to_the_policy(videos: Path, tmp_path: Path):
    out = ("--out", tmp_path / "run")
    said = one_line(curate("run", videos, *out, "--set", "motion.min=0.1", check=False), "unknown setting motion.min")
    assert said.endswith("for a threshold write policy.motion.min\n")
    said = one_line(curate("run", videos, *out, "--set", "sharpness.drop_lowest=10%", check=False), "unknown setting 'sharpness'")
    assert said.endswith("for a threshold write policy.sharpness.drop_lowest\n")
    assert "policy." not in one_line(curate("run", videos, *out, "--set", "motion.fsp=4", check=False), "did you mean 'fps'?")


def test_inspect_asks_for_a_clip_id(demo_run: Path):
    first = pd.read_parquet(demo_run / "manifest.parquet")["clip_id"][0]
    one_line(curate("inspect", demo_run, "", check=False), "give a clip id of this run, or the start of one", first[:12])
    one_line(curate("inspect", demo_run, " ", check=False), "give a clip id")


def test_run_again_keeps_a_filter_and_another_policy_says_that_it_does_not(small_run: Path, videos: Path, tmp_path: Path):
    run = shutil.copytree(small_run, tmp_path / "run")
    curate("filter", run, "--set", "motion.drop_lowest=50%", "--name", "half")
    before = contents(run)
    said = curate("run", videos, "--out", run, *QUICK).stdout
    assert "policy half stays as `curate filter` left it" in said
    after = contents(run)
    assert {name for name in before if after[name] != before[name]} <= {"run.json", "report.html"}
    said = curate("run", videos, "--out", run, *QUICK, "--set", "policy.motion.min=0.02").stdout
    assert "policy half of `curate filter` does not stay" in said
    assert json.loads((run / "run.json").read_text())["policy"] == "default"
    said = curate("run", videos, "--out", run, *QUICK, "--set", "policy.motion.min=0.02").stdout
    assert "curate filter" not in said


def test_one_command_at_a_time_changes_a_run(copied: Path, videos: Path):
    before = contents(copied)
    with alone(copied):
        for command in (
            ("run", videos, "--out", copied),
            ("annotate", copied, "--only", "quality"),
            ("filter", copied),
            ("export", copied),
        ):
            one_line(curate(*command, check=False), f"another curate command is at work on {copied}")
        assert "policy" in curate("inspect", copied, pd.read_parquet(copied / "manifest.parquet")["clip_id"][0]).stdout
    assert contents(copied) == before
    curate("filter", copied)
