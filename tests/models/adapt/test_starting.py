"""`train.init` and `train.learn` through the commands: an image model becomes a video model, goes on and samples."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.commands import contents, invoke, models, one_line
from helpers.starting import IMAGE, LATTE, sets, video_options
from helpers.trainings import tensors
from safetensors.torch import load_file

from clipmill.models.autoencoder_for import autoencoder_named
from clipmill.models.autoencoders.saving import save_autoencoder


def step_names(checkpoint: Path, step: int) -> set[str]:
    return set(load_file(checkpoint / "steps" / f"{step:08d}" / "weights.safetensors"))


def test_an_image_model_becomes_a_video_model_of_which_the_layers_along_time_learn(
    image_model: Path, tiny_run: Path, tmp_path: Path
):
    old, out, whole = shutil.copytree(image_model, tmp_path / "image"), tmp_path / "video", tmp_path / "whole"
    more = ("train.warm_up=0", "autoencoder.options.time_factor=1")
    options = video_options(old, "temporal", *more)
    said = models("train", tiny_run, *options, "--out", out, "--steps", 2).stdout
    assert "30 of 50 tensors came" in said
    assert "missing: 0" in said
    models("train", tiny_run, *options, "--out", whole, "--steps", 4)
    assert contents(out)["autoencoder.safetensors"] == contents(old)["autoencoder.safetensors"], "its own latents"
    base = load_file(out / "base.safetensors")
    averaged = load_file(old / "steps" / "00000004" / "average-0.050.safetensors")
    renamed = {name.replace("blocks.2.", "blocks.1."): tensor for name, tensor in base.items()}
    assert renamed.keys() == averaged.keys()
    assert all(torch.equal(tensor, averaged[name]) for name, tensor in renamed.items())

    shutil.rmtree(old)  # a checkpoint is whole by itself
    models("train", tiny_run, *options, "--out", out, "--steps", 4)
    mine, theirs = tensors(out, 4), tensors(whole, 4)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())
    assert contents(out)["base.safetensors"] == contents(whole)["base.safetensors"]
    along_time = {name for name in step_names(out, 4) if ".blocks.1." in name or ".blocks.3." in name}
    assert along_time == step_names(out, 4)
    models("sample", out, "--n", 1, "--out", tmp_path / "samples", "--device", "cpu")
    other = invoke("models", "train", tiny_run, *video_options(old, "all", *more), "--out", out)
    one_line(other, "was trained with another train.learn", "choose another --out")

    report = json.loads((out / "init.json").read_text())
    every = {name.removeprefix("network.") for name in base.keys() | step_names(out, 4)}
    assert set(report["came"]) | set(report["new"]) == every
    assert not set(report["came"]) & set(report["new"])
    assert {f"network.{name}" for name in report["came"].values()} | {*report["missing"]} == averaged.keys()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (sets("train.learn=temporal"), ("freezes weights that nothing has trained", "train.init")),
        (sets("train.learn=lora:0", "train.init=IMAGE"), ("learn is all, temporal, query+temporal, control, lora:8",)),
        (sets("train.init=nothing"), ("nothing is no checkpoint",)),
        (sets(*IMAGE, "train.init=IMAGE", "train.learn=temporal"), ("no layers along time", "train.learn=all")),
        (sets(*IMAGE, "train.init=IMAGE", "train.learn=lora:8:temporal"), ("no attention along time",)),
        (sets("train.init=IMAGE", "train.learn=lora:4"), ("low-rank branches leave all else", "train.learn=temporal")),
        (sets("train.init=IMAGE", "train.learn=temporal", "data.frames=[1]"), ("single frames teach", "data.frames")),
        (sets("train.init=IMAGE", "backbone.options.head_dim=8"), ("head_dim", "set backbone.options.head_dim=16")),
        (("--config", "video-ldm-nano", *sets("train.init=IMAGE")), ("'dit'", "'unet'", "of the same backbone")),
        (("--config", "frame-autoencoder-nano", *sets("train.init=IMAGE")), ("is for diffusion models",)),
    ],
)
def test_a_mistake_about_weights_is_one_line(
    options: tuple[str, ...], says: tuple[str, ...], image_model: Path, tiny_run: Path, tmp_path: Path
):
    words = [word.replace("IMAGE", str(image_model)) for word in (*LATTE, *options)]
    one_line(invoke("models", "train", tiny_run, *words, "--out", tmp_path / "ckpt"), *says)
    assert not (tmp_path / "ckpt").exists(), "nothing is written before everything is checked"


def test_an_autoencoder_is_no_model_to_begin_with(image_model: Path, tiny_run: Path, tmp_path: Path):
    card = json.loads((image_model / "card.json").read_text())
    card["config"]["trains"] = "autoencoder"
    (tmp_path / "card.json").write_text(json.dumps(card))
    done = invoke("models", "train", tiny_run, *LATTE, *sets(f"train.init={tmp_path}"), "--out", tmp_path / "ckpt")
    one_line(done, "holds an autoencoder", f"set autoencoder.weights={tmp_path}")


def test_what_the_old_weights_are_not_used_to_is_told(image_model: Path, tiny_run: Path, tmp_path: Path):
    latents = tmp_path / "latents.safetensors"
    save_autoencoder(latents, autoencoder_named("pixels", {"space_factor": 2}))
    other = sets(f"train.init={image_model}", f"autoencoder.weights={latents}", "diffusion.parametrisation=v")
    said = models("train", tiny_run, *LATTE, *other, "--out", tmp_path / "a", "--steps", 1).stdout
    assert "was trained to predict eps, this model predicts v: set diffusion.parametrisation=eps" in said
    assert f"latents are not those that {image_model} was trained on: set autoencoder.weights={image_model}" in said
    assert "(backbone.patches_in.weight" in said, "what has another shape is new, and told"
