"""`curate export` on a finished run: what it refuses before any work, what it says of failures, and when shards are up
to date.
"""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers.commands import curate, invoke, one_line

QUICK = ("--set", "preset=ultrafast")


@pytest.fixture
def run(demo_run: Path, tmp_path: Path) -> Path:
    """A copy of the demo run that a test may change; its videos are those of all tests."""
    return shutil.copytree(demo_run, tmp_path / "run")


@pytest.fixture
def own_videos(run: Path, demo_videos: Path, tmp_path: Path) -> Path:
    """A copy of the demo videos that `run` is told of."""
    videos = shutil.copytree(demo_videos, tmp_path / "videos")
    table = pd.read_parquet(run / "videos.parquet")
    table["uri"] = table["uri"].str.replace(demo_videos.as_uri(), videos.as_uri())
    table.to_parquet(run / "videos.parquet")
    return videos


def hashes(run: Path) -> dict[str, str]:
    """Every file of the run but for workers' scratch."""
    files = (p for p in run.rglob("*") if p.is_file() and ".scratch" not in p.parts)
    return {str(p.relative_to(run)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def export_settings(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())["config"]["export"]


def places(run: Path) -> pd.DataFrame:
    """Rows of the manifest that lie in shards."""
    return pd.read_parquet(run / "manifest.parquet").dropna(subset="shard")


def kept_clips(run: Path) -> int:
    return int(pd.read_parquet(run / "manifest.parquet")["keep"].sum())


def test_moved_videos_are_refused_before_any_work_and_the_named_command_mends_it(run: Path, own_videos: Path):
    before = hashes(run)
    elsewhere = own_videos.rename(own_videos.with_name("elsewhere"))
    said = one_line(invoke("curate", "export", run, "--size", 64, *QUICK))
    needed = places(run)["video_id"].nunique()
    assert f"{needed} of the {needed} source videos" in said
    assert str(own_videos) in said
    assert "curate run NEWPLACE --out RUN" in said
    assert hashes(run) == before
    assert "(up to date)" in curate("export", run).stdout, "where nothing is encoded no source is needed"
    curate("run", elsewhere, "--out", run, "--no-export")
    curate("export", run, "--size", 64, *QUICK)
    assert set(places(run)[["export_width", "export_height"]].min(axis=1)) == {64}
    assert len(places(run)) == kept_clips(run)


def test_shards_are_not_replaced_by_nothing(run: Path, own_videos: Path):
    before = hashes(run / "shards")
    kept = [own_videos / name for name in places(run)["relpath"].unique()]
    whole = {path: path.read_bytes() for path in kept}
    for path in kept:
        path.write_bytes(b"no video")
    said = one_line(curate("export", run, "--size", 64, *QUICK, check=False))
    assert f"{kept_clips(run)} clips could not be exported" in said
    assert "changed after it was hashed" in said
    assert hashes(run / "shards") == before
    assert export_settings(run)["short_side_px"] != 64
    assert "(up to date)" in curate("export", run).stdout
    for path, data in whole.items():
        path.write_bytes(data)
    curate("export", run, "--size", 64, *QUICK)
    assert len(places(run)) == kept_clips(run), "what failed is tried again"


def test_a_copy_goes_with_no_size_and_ends_with_one(run: Path):
    before = hashes(run)
    for asked in (("--size", 64), ("--fps", 12), ("--set", "export.fps=12")):
        one_line(invoke("curate", "export", run, "--copy", *asked), "leave out --copy")
    assert hashes(run) == before
    curate("export", run, "--copy")
    assert export_settings(run)["copy"]
    assert places(run)["export_codec"].nunique() > 1
    curate("export", run, "--size", 64, *QUICK)
    assert not export_settings(run)["copy"]
    assert set(places(run)["export_codec"]) == {"h264"}
    assert set(places(run)[["export_width", "export_height"]].min(axis=1)) == {64}
    curate("export", run, "--copy")
    curate("export", run, "--no-copy")
    assert (export_settings(run)["copy"], export_settings(run)["short_side_px"]) == (False, 64)
    assert set(places(run)["export_codec"]) == {"h264"}


def test_failures_are_counted_with_their_reason_and_the_card_adds_up(run: Path):
    said = curate("export", run, "--copy", "--format", "hf").stdout
    without = int(pd.read_parquet(run / "manifest.parquet").query("keep")["keyframe_start_pts"].isna().sum())
    assert without > 0
    total, line = kept_clips(run), said.splitlines()[0]
    failed = total - len(places(run))
    assert f"{failed} clips could not be exported ({without}: no keyframe span in the clip" in line
    assert sum(int(n) for n in re.findall(r"(\d+): ", line)) == failed
    again = curate("export", run).stdout.splitlines()[0]
    assert "(up to date)" in again
    assert again.replace(" (up to date)", "") == line
    card = (run / "export-hf" / "README.md").read_text()
    counts = dict(re.findall(r"^\| (clips [^|]*) \| (\d+) \|$", card, re.MULTILINE))
    assert int(counts["clips that could not be exported"]) == failed
    assert int(counts["clips kept"]) == failed + int(counts["clips in this set"])


def test_damaged_shards_are_written_again(run: Path):
    curate("export", run, "--copy")  # quicker than encoding
    before = hashes(run / "shards")
    first, second = sorted((run / "shards").glob("*.tar"))
    first.write_bytes(b"")
    assert "(up to date)" not in curate("export", run).stdout
    assert hashes(run / "shards") == before
    with second.open("r+b") as file:
        file.truncate(second.stat().st_size // 2)
    assert "(up to date)" not in curate("export", run).stdout
    assert hashes(run / "shards") == before
    assert "(up to date)" in curate("export", run).stdout
