"""`models sample`, `info` and `list`, through the real commands."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from helpers.commands import invoke, models, one_line

from clipmill.evaluate.sets import open_set
from clipmill.models.autoencoders.saving import load_autoencoder
from clipmill.models.config import load, preset_names
from clipmill.models.generate.sampling import as_bytes
from clipmill.models.pixels import as_floats


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


def test_floor_writes_windows_their_way_through_the_latents_and_held_out_ones(trained: Path, tmp_path: Path):
    out = tmp_path / "floor"
    said = invoke("models", "floor", trained, "--out", out, "--n", 5)
    assert said.returncode == 0, said.stderr
    every = np.load(out / "trained.npy")
    assert every.shape[1:] == (4, 16, 16, 3)
    assert len(every) > 20
    n_different = len(np.unique(every.reshape(len(every), -1), axis=0))
    assert n_different > 0.9 * len(every), "two windows of each clip, drawn each for itself"
    sets = {name: videos_of(out / name) for name in ("windows", "latents", "held-out")}
    assert len(sets["windows"]) == len(sets["latents"]) == 5
    assert 1 <= len(sets["held-out"]) <= 5
    autoencoder = load_autoencoder(trained / "autoencoder.safetensors")
    chosen = torch.from_numpy(every[np.linspace(0, len(every) - 1, 5).round().astype(int)]).permute(0, 1, 4, 2, 3)
    again = as_bytes(autoencoder.decode(autoencoder.encode(as_floats(chosen)).mean)).permute(0, 1, 3, 4, 2)
    # Through H.264 at 16 px; other windows are at 40.
    assert np.abs(sets["windows"].astype(int) - chosen.permute(0, 1, 3, 4, 2).numpy()).mean() < 10
    assert np.abs(sets["latents"].astype(int) - again.numpy()).mean() < 10
    held = sets["held-out"].reshape(len(sets["held-out"]), -1).astype(int)
    assert min(np.abs(window - every.reshape(len(every), -1)).mean(axis=1).min() for window in held) > 12
    one_line(invoke("models", "floor", trained, "--out", out), "exists: choose another --out")
    other = shutil.copytree(trained, tmp_path / "other")
    card = json.loads((other / "card.json").read_text())
    (other / "card.json").write_text(json.dumps(card | {"clips_sha256": "0"}))
    one_line(invoke("models", "floor", other, "--out", tmp_path / "none"), "no longer holds the clips")
    assert not (tmp_path / "none").exists()


def videos_of(folder: Path) -> np.ndarray:
    """uint8 [N, T, H, W, 3]."""
    videos = []
    for video in open_set(folder).videos:
        with video.open() as frames:
            videos.append(frames.read(np.arange(len(frames.times_s()))))
    return np.stack(videos)


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
