"""`curate run` as a whole: counts reconcile, the same bytes whatever happens, only what changed is done again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pandas as pd
import pyarrow.parquet as pq
import pytest
from helpers.commands import LOCAL, curate
from helpers.tiny_videos import write_tiny

from clipmill.curate.contract import schema

DATA = (
    "videos/*.parquet",
    "curves/*.parquet",
    "clips/*.parquet",
    "frames/*.parquet",
    "annotations/*/*.parquet",
    "decisions/*",
)
JOINED = ("manifest.parquet", "videos.parquet", "shards.parquet", "shards/*.tar", "report.html")


def events(run):
    return [json.loads(line) for line in (run / "run.jsonl").read_text().splitlines()]


def data_bytes(run, patterns=(*DATA, *JOINED[:-1])):
    return {str(p.relative_to(run)): p.read_bytes() for pattern in patterns for p in sorted(run.glob(pattern))}


def sources(folder):
    return [p for p in folder.rglob("*") if p.is_file() and p.suffix not in (".parquet", ".txt", ".json", ".csv")]


@pytest.fixture(scope="module")
def few_videos(tmp_path_factory):
    """Three small videos with captions; the last of them takes far longer than the others."""
    folder = tmp_path_factory.mktemp("few") / "in"
    for name, n_frames in (("a", 50), ("b", 50), ("c", 200)):
        write_tiny(folder / f"{name}.mp4", ord(name), n_frames, (96, 64), (2, 3))
        (folder / f"{name}.txt").write_text(f"texture {name}")
    return folder


@pytest.fixture(scope="module")
def few_run(few_videos, tmp_path_factory):
    """With everything of the default preset."""
    run = tmp_path_factory.mktemp("few_run") / "run"
    curate("run", few_videos, "--out", run, *LOCAL, "--workers", 2)
    return run


def test_every_input_is_a_row_and_counts_reconcile(demo_videos, demo_run):
    facts = json.loads((demo_run / "run.json").read_text())
    counts = facts["counts"]
    videos = pd.read_parquet(demo_run / "videos.parquet")
    assert sorted(videos["relpath"]) == sorted(p.relative_to(demo_videos).as_posix() for p in sources(demo_videos))
    assert counts["files"] == counts["ok"] + counts["partial"] + counts["error"] + counts["duplicate"] == len(videos)
    manifest = pd.read_parquet(demo_run / "manifest.parquet")
    assert (
        counts["clips"]
        == counts["kept"] + counts["dropped"] + counts["error_clips"] + counts["not_run"]
        == len(manifest)
    )
    assert counts["kept"] == manifest["keep"].fillna(False).sum() > 0
    assert manifest["clip_id"].is_unique
    assert set(manifest["outcome"]) <= {"kept", "dropped", "error", "not_run"}


def test_clips_are_exact_spans_of_their_videos(demo_run):
    clips = pd.read_parquet(demo_run / "manifest.parquet")
    videos = pd.read_parquet(demo_run / "videos.parquet").set_index("video_id")
    for row in clips.itertuples():
        assert row.clip_id == schema.clip_id(row.video_id, row.start_pts, row.end_pts)
        pts = pq.read_table(next(demo_run.glob(f"curves/{row.video_id}-*.parquet")), columns=["pts"])["pts"].to_numpy()
        inside = (pts >= row.start_pts) & (pts < row.end_pts)
        assert inside.sum() == row.n_frames
        assert row.start_pts in pts
        for cut in videos.loc[row.video_id, "cuts"]:
            assert row.end_pts <= cut["start_pts"] or row.start_pts >= cut["end_pts"], (
                "no frame of a transition in a clip"
            )
            assert not row.start_pts < cut["pts"] < row.end_pts


def test_each_clip_has_its_scores_or_a_reason(demo_run):
    for part in demo_run.glob("annotations/*/*.parquet"):
        table = pd.read_parquet(part)
        scored = table["status"] == "ok"
        assert table.loc[~scored, "error"].notna().all()
        assert table.loc[scored, "error"].isna().all()


def test_worker_count_changes_no_byte(few_videos, few_run, tmp_path):
    curate("run", few_videos, "--out", tmp_path / "run", *LOCAL, "--workers", 1)
    assert data_bytes(tmp_path / "run") == data_bytes(few_run)


def test_without_workers_the_bytes_are_the_same(few_videos, few_run, tmp_path):
    curate("run", few_videos, "--out", tmp_path / "run", "--engine", "inline")
    assert data_bytes(tmp_path / "run") == data_bytes(few_run)


@pytest.mark.slow
def test_kill_and_resume_changes_no_byte(few_videos, few_run, tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "clipmill.curate.cli", "run", str(few_videos), "--out", str(run), *LOCAL]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 300
    while not list(run.glob("videos/*-*.parquet")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    kill_group(process)
    done = len(list(run.glob("videos/*-*.parquet")))
    assert 0 < done < 3, "killed in the middle"
    out = curate("run", few_videos, "--out", run, *LOCAL, "--workers", 1).stdout
    assert "videos are up to date" in out
    assert data_bytes(run) == data_bytes(few_run)


def kill_group(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_second_run_does_nothing_again(few_videos, few_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(few_run, run)
    before = len(events(run))
    out = curate("run", few_videos, "--out", run).stdout
    assert "3 of 3 videos are up to date" in out
    assert "(up to date)" in out
    assert len(events(run)) == before
    assert data_bytes(run) == data_bytes(few_run)


def test_a_changed_parameter_recomputes_its_own_table_only(few_videos, few_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(few_run, run)
    before = len(events(run))
    curate("run", few_videos, "--out", run, "--no-export", "--set", "motion.static_below=0.02")
    again = events(run)[before:]
    assert {tuple(e["tables"]) for e in again} == {("motion",)}
    assert len(again) == 3
    changed = {k for k, v in data_bytes(run, DATA).items() if data_bytes(few_run, DATA).get(k) != v}
    assert {k.split("/")[1].split(".")[0] for k in changed if k.startswith("annotations/")} == {"motion"}
    assert not [k for k in changed if k.split("/")[0] in ("clips", "frames", "curves")]


def test_filter_decides_again_without_the_videos(few_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(few_run, run)
    before = pd.read_parquet(run / "manifest.parquet").set_index("clip_id")
    threshold = float(before["motion"].median())
    out = curate("filter", run, "--set", f"motion.min={threshold}", "--name", "fast").stdout
    after = pd.read_parquet(run / "manifest.parquet").set_index("clip_id")
    fails = after["failed_filters"].map(lambda f: "motion" in list(f))
    assert (fails == (after["motion"] < threshold)).all()
    assert (run / "decisions" / "fast.parquet").exists()
    assert (run / "decisions" / "default.parquet").exists()
    assert "motion" in out


def test_inspect_explains_a_clip(few_run):
    clip = pd.read_parquet(few_run / "manifest.parquet").iloc[0]
    out = curate("inspect", few_run, clip["clip_id"][:10]).stdout
    for expected in (clip["clip_id"], clip["relpath"], "motion", "motion.v1", "curate run"):
        assert expected in out


def test_every_frame_is_decoded_once_for_all_annotators(few_run):
    decoded = {e["unit"]: e["frames_decoded"] for e in events(few_run) if "frames_decoded" in e}
    videos = pd.read_parquet(few_run / "videos.parquet").set_index("video_id")
    assert {"borders", "motion", "quality", "text", "phash"} < set(events(few_run)[0]["tables"])
    assert decoded == videos["n_frames_decoded"].to_dict()


def test_annotate_fills_a_table_from_the_stored_pictures(few_videos, tmp_path):
    run, videos = tmp_path / "run", tmp_path / "in"
    videos.mkdir()
    for path in sources(few_videos)[:2]:
        shutil.copy2(path, videos)
    names = ["borders", "motion", "quality", "phash"]
    settings = (f"annotators={names}", "policy.text_area=off", "scenes.detector=cascade")
    curate("run", videos, "--out", run, "--no-export", *(word for text in settings for word in ("--set", text)))
    shutil.rmtree(videos)
    before = len(events(run))
    curate("annotate", run, "--only", "text")
    again = events(run)[before:]
    assert {tuple(e["tables"]) for e in again} == {("text",)}
    assert {e["frames_decoded"] for e in again} == {0}
    manifest = pd.read_parquet(run / "manifest.parquet")
    assert manifest.loc[manifest["duration_s"] >= 1, "text_area"].notna().all()


def test_cuts_previews_other_thresholds_without_decoding(few_run):
    out = curate("cuts", few_run).stdout
    assert "0 of" in out, "the run's own thresholds find the run's own cuts"


@pytest.mark.slow
def test_dry_run_writes_nothing(few_videos, tmp_path):
    out = curate("run", few_videos, "--out", tmp_path / "run", "--dry-run", "--set", "scenes.detector=cascade").stdout
    assert not (tmp_path / "run").exists()
    for word in ("time: about", "disk: about", "% kept (95 % interval"):
        assert word in out
