"""`models sample`, `info` and `list`, through the real commands."""

import json
import shutil
from pathlib import Path

import pandas as pd
from helpers.commands import invoke, models, one_line

from clipmill.models.config import load, preset_names


def test_a_size_that_cannot_be_made_leaves_nothing_behind(trained: Path, tmp_path: Path):
    one_line(
        invoke("models", "sample", trained, "--out", tmp_path / "s", "--n", 1, "--size", "17x16"),
        "multiples of 4 px",
    )
    assert not (tmp_path / "s").exists()
    models("sample", trained, "--out", tmp_path / "s", "--n", 1)


def test_samples_are_a_set_that_evaluate_reads_and_the_same_each_time(trained: Path, tmp_path: Path):
    first, again = tmp_path / "first", tmp_path / "again"
    models("sample", trained, "--out", first, "--n", 5, "--seed", 7, "--set", "sample.batch=2")
    elsewhere = shutil.copytree(trained, tmp_path / "elsewhere")
    models("sample", elsewhere, "--out", again, "--n", 3, "--seed", 7, "--set", "sample.batch=8")
    table = pd.read_parquet(first / "manifest.parquet")
    assert len(table) == 5
    same = pd.read_parquet(again / "manifest.parquet")["clip_id"].tolist()
    assert same == table["clip_id"].tolist()[:3], (
        "ids, and so the order that evaluate takes them in, do not know where the checkpoint lies"
    )
    models("sample", elsewhere, "--out", first, "--n", 5, "--seed", 7)
    assert json.loads((first / "sampling.json").read_text())["checkpoint"] == str(elsewhere), (
        "a moved checkpoint goes on, and is named"
    )
    assert (first / "sheet.png").is_file()
    from clipmill.evaluate.sets import open_set

    videos = open_set(first).videos
    assert len(videos) == 5
    with videos[0].open() as frames:
        times = frames.times_s()
        pictures = frames.read(range(len(times)))
    assert pictures.shape == (4, 16, 16, 3)
    for name in ("000000.mp4", "000001.mp4", "000002.mp4"):
        assert (first / name).read_bytes() == (again / name).read_bytes(), (
            "a video depends on seed and number, not on its batch"
        )
    other = invoke("models", "sample", trained, "--out", first, "--n", 5, "--seed", 8)
    one_line(other, "other settings", "--out")
    (first / "000003.mp4").unlink()
    models("sample", trained, "--out", first, "--n", 6, "--seed", 7)
    assert sorted(p.name for p in first.glob("*.mp4")) == [f"{k:06d}.mp4" for k in range(6)]


def test_info_tells_model_data_and_clips(trained: Path):
    card = models("info", trained).stdout
    assert "preset          demo-nano" in card
    assert "saved: 10, 20" in card
    clips = models("info", trained, "--clips").stdout
    seen = pd.read_parquet(trained / "steps" / "00000020" / "clips.parquet")
    assert f"{(seen['times_drawn'] > 0).sum()} of {len(seen)} clips" in clips


def test_the_list_names_every_preset_and_its_property():
    said = models("list").stdout
    for name in preset_names():
        config = load(name)
        assert f"{name} " in said
        assert config.about in said
        assert config.property
        assert config.property in said
