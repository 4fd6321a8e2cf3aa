"""Mistakes around `curate run`, `filter` and `inspect`, by the real commands: one line that names the fix, nothing
lost.
"""

import json
import os
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.commands import contents, curate, invoke, one_line

from clipmill.curate.common.lock import alone

_SETTINGS = (
    "annotators=['motion', 'quality', 'caption_attributes']",
    "scenes.detector=cascade",
    "policy.text_area=off",
)
QUICK = ("--no-export", *(word for setting in _SETTINGS for word in ("--set", setting)))


def cut_short(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def test_a_device_that_is_none_or_not_here_is_said_before_any_work(two_videos: Path, demo_copy: Path, tmp_path: Path):
    out = tmp_path / "new"
    before = contents(demo_copy)
    no_device = "--device is auto, cpu or cuda, not foo"
    one_line(invoke("curate", "run", two_videos, "--out", out, "--device", "foo"), no_device)
    one_line(invoke("curate", "run", two_videos, "--out", out, "--dry-run", "--device", "foo"), no_device)
    one_line(
        invoke("curate", "annotate", demo_copy, "--only", "motion", "--set", "motion.fps=6", "--device", "foo"),
        no_device,
    )
    if not torch.cuda.is_available():
        one_line(invoke("curate", "run", two_videos, "--out", out, "--device", "cuda"), "no CUDA device here")
    assert not out.exists()
    assert contents(demo_copy) == before


def test_a_table_cut_short_is_one_line_that_says_what_to_do(demo_copy: Path):
    clip_id = pd.read_parquet(demo_copy / "manifest.parquet")["clip_id"][0]
    path = cut_short(demo_copy / "manifest.parquet")
    mend = f"cannot read {path}; delete it and run `curate run` again"
    for command in (("filter", demo_copy), ("inspect", demo_copy, clip_id), ("export", demo_copy)):
        one_line(invoke("curate", *command), mend)


def test_inspect_says_which_part_is_cut_short(demo_copy: Path):
    manifest = pd.read_parquet(demo_copy / "manifest.parquet").set_index("clip_id")
    clip_id, name = next(
        (clip, name) for clip, pairs in manifest["score_status"].items() for name, status in pairs if status == "error"
    )
    makers = json.loads((demo_copy / "run.json").read_text())["columns"].values()
    maker = next(maker for maker in makers if maker.startswith(f"{name}."))
    path = cut_short(next((demo_copy / "annotations" / maker).glob(f"{manifest.loc[clip_id, 'video_id']}-*.parquet")))
    one_line(invoke("curate", "inspect", demo_copy, clip_id), f"cannot read {path}; delete it")


@pytest.mark.parametrize("table", ["annotations/motion.v*", "clips", "videos"])
def test_a_part_cut_short_is_told_and_made_again(small_run: Path, two_videos: Path, tmp_path: Path, table: str):
    run = shutil.copytree(small_run, tmp_path / "run")
    path = max(run.glob(f"{table}/*-*.parquet"), key=lambda path: path.stat().st_size)
    cut_short(path)
    cut_short(run / "manifest.parquet")
    cut_short(run / "index.parquet")
    said = curate("run", two_videos, "--out", run, *QUICK).stdout
    assert f"{path.parent.relative_to(run)}: 1 damaged part is made again" in said
    tables = ("manifest.parquet", "videos.parquet", "index.parquet", str(path.relative_to(run)))
    assert {name: (run / name).read_bytes() for name in tables} == {
        name: (small_run / name).read_bytes() for name in tables
    }


@pytest.fixture(scope="module")
def small_run(two_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the two videos, with one annotator that decodes and one that does not. Read-only."""
    run = tmp_path_factory.mktemp("small") / "run"
    curate("run", two_videos, "--out", run, *QUICK)
    return run


def test_missing_scores_name_the_command_that_makes_them(demo_copy: Path):
    said = one_line(
        invoke("curate", "filter", demo_copy, "--policy", "svd"),
        "policy.aesthetics",
        f"run `curate annotate {demo_copy} --only ",
    )
    assert "aesthetics" in said.rpartition("--only ")[2]
    assert "clip_id" not in said


def test_a_column_that_nobody_makes_lists_each_score_once(demo_copy: Path):
    said = one_line(
        invoke("curate", "filter", demo_copy, "--set", "zzzz.min=1"), "policy.zzzz: no such column; there are: "
    )
    names = said.strip().rpartition("there are: ")[2].split(", ")
    assert names == sorted(set(names))
    assert {"motion", "sharpness", "text_area"} <= set(names)
    assert not {"clip_id", "uri", "sha256", "score_status", "failed_filters", "phash"} & set(names)
    one_line(invoke("curate", "filter", demo_copy, "--set", "motoin.min=1"), "did you mean 'motion'?")


def test_a_threshold_among_the_settings_is_led_to_the_policy(two_videos: Path, tmp_path: Path):
    out = ("--out", tmp_path / "run")
    said = one_line(invoke("curate", "run", two_videos, *out, "--set", "motion.min=0.1"), "unknown setting motion.min")
    assert said.endswith("for a threshold write policy.motion.min")
    said = one_line(
        invoke("curate", "run", two_videos, *out, "--set", "sharpness.drop_lowest=10%"),
        "unknown setting 'sharpness'",
    )
    assert said.endswith("for a threshold write policy.sharpness.drop_lowest")
    assert "policy." not in one_line(
        invoke("curate", "run", two_videos, *out, "--set", "motion.fsp=4"), "did you mean 'fps'?"
    )


def test_inspect_asks_for_a_clip_id(demo_run: Path):
    first = pd.read_parquet(demo_run / "manifest.parquet")["clip_id"][0]
    one_line(invoke("curate", "inspect", demo_run, ""), "give a clip id of this run, or the start of one", first[:12])
    one_line(invoke("curate", "inspect", demo_run, " "), "give a clip id")


def test_run_again_keeps_a_filter_and_another_policy_says_that_it_does_not(
    small_run: Path, two_videos: Path, tmp_path: Path
):
    run = shutil.copytree(small_run, tmp_path / "run")
    curate("filter", run, "--set", "motion.drop_lowest=50%", "--name", "half")
    before = contents(run)
    said = curate("run", two_videos, "--out", run, *QUICK).stdout
    assert "policy half stays as `curate filter` left it" in said
    after = contents(run)
    assert {name for name in before if after[name] != before[name]} <= {"run.json", "report.html"}
    said = curate("run", two_videos, "--out", run, *QUICK, "--set", "policy.motion.min=0.02").stdout
    assert "policy half of `curate filter` does not stay" in said
    assert json.loads((run / "run.json").read_text())["policy"] == "default"
    said = curate("run", two_videos, "--out", run, *QUICK, "--set", "policy.motion.min=0.02").stdout
    assert "curate filter" not in said


def test_filter_says_that_the_shards_are_of_an_earlier_policy(demo_copy: Path):
    exported = pd.read_parquet(demo_copy / "manifest.parquet").query("shard.notna()")
    dropped = int((exported["motion"] < 0.1).sum())
    assert dropped > 0
    said = " ".join(curate("filter", demo_copy, "--set", "motion.min=0.1").stdout.split())
    assert f"the shards still hold {dropped} clips that this policy does not keep" in said
    assert "the shards" not in curate("filter", demo_copy).stdout


def test_one_command_at_a_time_changes_a_run(demo_copy: Path, two_videos: Path):
    before = contents(demo_copy)
    with alone(demo_copy):
        for command in (
            ("run", two_videos, "--out", demo_copy),
            ("annotate", demo_copy, "--only", "quality"),
            ("filter", demo_copy),
            ("export", demo_copy),
        ):
            one_line(invoke("curate", *command), f"another command is at work on {demo_copy}, process {os.getpid()} (")
        assert (
            "policy"
            in curate("inspect", demo_copy, pd.read_parquet(demo_copy / "manifest.parquet")["clip_id"][0]).stdout
        )
    assert contents(demo_copy) == before
    curate("filter", demo_copy)
