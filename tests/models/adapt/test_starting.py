"""`train.init` and `train.learn` through the commands: an image model becomes a video model, goes on and samples."""

import json
import shutil
from pathlib import Path

import torch
from helpers.commands import contents, models
from helpers.starting import video_options
from helpers.trainings import tensors
from safetensors.torch import load_file


def step_names(checkpoint: Path, step: int) -> set[str]:
    return set(load_file(checkpoint / "steps" / f"{step:08d}" / "weights.safetensors"))


def test_an_image_model_becomes_a_video_model_of_which_the_layers_along_time_learn(
    image_model: Path, tiny_run: Path, tmp_path: Path
):
    old, out, whole = shutil.copytree(image_model, tmp_path / "image"), tmp_path / "video", tmp_path / "whole"
    options = video_options(old, "temporal", "train.warm_up=0")
    said = models("train", tiny_run, *options, "--out", out, "--steps", 2).stdout
    assert "30 of 50 tensors came" in said
    assert "missing: 0" in said
    models("train", tiny_run, *options, "--out", whole, "--steps", 4)
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

    report = json.loads((out / "init.json").read_text())
    every = {name.removeprefix("network.") for name in base.keys() | step_names(out, 4)}
    assert set(report["came"]) | set(report["new"]) == every
    assert not set(report["came"]) & set(report["new"])
    assert {f"network.{name}" for name in report["came"].values()} | {*report["missing"]} == averaged.keys()
