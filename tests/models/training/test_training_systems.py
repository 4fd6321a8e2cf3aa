"""`models train` of autoencoders, of models on their latents, and of systems with other conditioning; samples."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers.commands import invoke, models, one_line
from helpers.trainings import EACH_STEP, log, losses
from safetensors.torch import load_file

FEW_STEPS = ("--set", "sample.steps=2")


@pytest.mark.parametrize("name", ["frame-autoencoder", "causal-autoencoder"])
def test_an_autoencoder_is_trained_and_a_diffusion_model_on_its_latents(name: str, tiny_run: Path, tmp_path: Path):
    first, options = tmp_path / "ae", ("--config", f"{name}-nano", "--device", "cpu", *EACH_STEP)
    models("train", tiny_run, *options, "--out", first, "--steps", 2, "--set", "train.checkpoint_every=2")
    models("train", tiny_run, *options, "--out", first, "--steps", 6)
    rows = [row for row in log(first) if "loss" in row]
    assert [row["step"] for row in log(first) if "kept_training_change" in row] == [2, 6], "as it was saved each time"
    assert [row["step"] for row in rows] == list(range(1, 7))
    assert "discriminator" not in rows[1]
    assert "discriminator" in rows[2], "the discriminator plays from its third step on"
    kind, frames = name.removesuffix("-autoencoder"), 5
    model = (
        "--config",
        "latte-nano",
        "--set",
        f"autoencoder.kind={kind}",
        "--set",
        f"autoencoder.weights={first}",
        "--device",
        "cpu",
    )
    out = tmp_path / "model"
    models("train", tiny_run, *model, "--set", f"data.frames=[{frames}]", "--out", out, "--steps", 3, *EACH_STEP)
    assert len(losses(out)) == 3
    models("sample", out, "--out", tmp_path / "samples", "--n", 2, *FEW_STEPS)
    shutil.rmtree(first)
    models("sample", out, "--out", tmp_path / "again", "--n", 2, *FEW_STEPS)
    assert (tmp_path / "samples/000001.mp4").read_bytes() == (tmp_path / "again/000001.mp4").read_bytes(), (
        "a checkpoint is whole by itself"
    )
    wrong = invoke("models", "sample", first, "--out", tmp_path / "x")
    one_line(wrong, "no checkpoint")


def test_only_the_layers_along_time_of_a_trained_decoder_are_trained(tiny_run: Path, tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    options = ("--config", "frame-autoencoder-nano", "--device", "cpu", *EACH_STEP)
    models("train", tiny_run, *options, "--out", first, "--steps", 2)
    begun = ("--set", f"autoencoder.weights={first}", "--set", "autoencoder_loss.decoder_only=true")
    models("train", tiny_run, *options, *begun, "--out", second, "--steps", 2)
    before, after = load_file(first / "autoencoder.safetensors"), load_file(second / "autoencoder.safetensors")
    assert set(before) < set(after)
    images = [n for n in before if n not in ("latent_mean", "latent_std")]
    assert all(torch.equal(before[n], after[n]) for n in images)
    assert any(bool(after[n].abs().sum() > 0) for n in set(after) - set(before) if n.startswith("over_time"))


@pytest.mark.parametrize("name", ["vdm", "svd-small", "dit"])
def test_systems_train_validate_and_sample_through_the_command(
    name: str, tiny_run: Path, demo_videos: Path, tmp_path: Path
):
    """Appended images; a first frame and numbers from the manifest; buckets of two shapes with captions."""
    out = tmp_path / "ckpt"
    options = ("--set", "train.validate_every=2", "--set", "train.preview_every=2", "--set", "train.validation_clips=2")
    models("train", tiny_run, "--config", f"{name}-nano", "--out", out, "--steps", 2, *options, "--device", "cpu")
    assert any("validation_loss" in row for row in log(out))
    assert (out / "previews" / "00000002.png").is_file() == (name != "svd-small"), "a first frame has to be given"
    one, two = sorted(demo_videos.glob("*.mp4"))[:2]
    first = ("--first", one) if name == "svd-small" else ()
    models("sample", out, "--out", tmp_path / "samples", "--n", 2, *FEW_STEPS, *first)
    table = pd.read_parquet(tmp_path / "samples" / "manifest.parquet")
    known = pd.read_parquet(out / "conditions.parquet")
    if name == "svd-small":
        assert set(table["number_motion"]) <= set(known["number_motion"])
        one_line(invoke("models", "sample", out, "--out", tmp_path / "none", "--n", 1), "--first")
        unknown = invoke("models", "sample", out, "--out", tmp_path / "none", "--n", 1, *first, "--number", "beauty=3")
        one_line(unknown, "not conditioned on 'beauty'", "fps, motion")
        moved = shutil.copy(one, tmp_path / "moved.mp4")
        models("sample", out, "--out", tmp_path / "samples", "--n", 3, *FEW_STEPS, "--first", moved)
        shutil.copy(two, tmp_path / "moved.mp4")
        again = ("--out", tmp_path / "samples", "--n", 4, *FEW_STEPS, "--first", tmp_path / "moved.mp4")
        changed = invoke("models", "sample", out, *again)
        one_line(changed, "other settings", "--out")
    if name == "dit":  # vdm takes it, by guidance
        one_line(
            invoke("models", "sample", out, "--out", tmp_path / "none", "--n", 1, "--first", demo_videos),
            "leave --first out",
        )
