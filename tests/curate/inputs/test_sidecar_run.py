"""Captions beside videos in a run, by the real commands: they outlive the folder of videos, and what was judged by them
follows them.
"""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers.commands import curate
from helpers.small_clip import write_clip

BESIDE = {"first": ".txt", "second": ".json"}


@pytest.fixture
def videos(demo_videos: Path, tmp_path: Path) -> Path:
    """Three demo videos: one with a .txt, one with a .json, one with a line in metadata.csv."""
    folder = tmp_path / "videos"
    folder.mkdir()
    texts = [next(demo_videos.glob(f"*{suffix}")) for suffix in BESIDE.values()]
    listed = pd.read_csv(demo_videos / "metadata.csv")["file"]
    for text in texts:
        shutil.copy(text, folder)
        shutil.copy(next(p for p in demo_videos.glob(f"{text.stem}.*") if p.suffix not in BESIDE.values()), folder)
    shutil.copy(demo_videos / "metadata.csv", folder)
    shutil.copy(min((demo_videos / name for name in listed), key=lambda path: path.stat().st_size), folder)
    return folder


def captions(run: Path) -> dict[str, str]:
    found = pd.read_parquet(run / "manifest.parquet")
    return {row.relpath: dict(enumerate(row.captions))[0]["text"] for row in found.itertuples() if len(row.captions)}


def parts(run: Path) -> dict[str, tuple[bytes, int]]:
    files = (run / "annotations" / "clip_similarity.v1").glob("*.parquet")
    return {path.name.split("-")[0]: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_captions_outlive_their_folder_and_what_was_judged_by_them_follows_them(
    videos: Path, tmp_path: Path, monkeypatch
):
    network = write_clip(tmp_path / "clip")
    settings = [word for name in ("clip", "clip_similarity") for word in ("--set", f"{name}.network={network}")]
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    quick = ("annotators=['motion', 'quality']", "policy.text_area=off", "scenes.detector=cascade")
    curate("run", "videos", "--out", run, "--no-export", *(word for text in quick for word in ("--set", text)))
    before = captions(run)
    assert len(before) == 3

    # Asked from another folder, with the videos gone.
    monkeypatch.chdir("/")
    away = videos.rename(tmp_path / "away")
    curate("annotate", run, "--only", "clip_similarity", *settings)
    assert captions(run) == before
    judged = parts(run)
    assert len(judged) == 3
    found = pd.read_parquet(run / "manifest.parquet")
    assert found["clip_similarity"].notna().any()

    # Back again, one caption changed: its video is judged again, the others are not.
    away.rename(videos)
    changed = next(videos.glob("*.txt"))
    changed.write_text("something else altogether\n")
    curate("annotate", run, "--only", "clip_similarity", *settings)
    after = captions(run)
    assert {name for name in after if after[name] != before[name]} == {
        name for name in after if Path(name).stem == changed.stem
    }
    again = parts(run)
    moved = {unit for unit in judged if again[unit] != judged[unit]}
    assert moved == set(found.loc[found["relpath"].map(lambda name: Path(name).stem == changed.stem), "video_id"])
    scores = pd.read_parquet(run / "manifest.parquet").set_index("clip_id")["clip_similarity"]
    old = found.set_index("clip_id")["clip_similarity"]
    looked = old.notna()
    differs = ~scores[looked].sub(old[looked]).abs().lt(1e-6)
    assert differs.any()
    assert set(found.set_index("clip_id").loc[differs[differs].index, "video_id"]) == moved
