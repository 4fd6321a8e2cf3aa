"""Low-rank branches through the commands: a small file, merged, under other names; what goes on and what does not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import contents, invoke, models, one_line
from helpers.starting import image_options, low_rank_options
from helpers.trainings import tensors
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from clipmill.models.export.diffusers_names import diffusers_tensors
from clipmill.models.generate.loading import load


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return {name: parameter.detach() for name, parameter in load(checkpoint).network.named_parameters()}


def test_branches_go_on_exactly_and_are_all_that_a_step_holds(
    image_model: Path, low_rank: Path, tiny_run: Path, tmp_path: Path
):
    out, whole = tmp_path / "ckpt", low_rank / "ckpt"
    for steps in (2, 4):
        models("train", tiny_run, *low_rank_options(image_model), "--out", out, "--steps", steps)
    mine, theirs = tensors(out, 4), tensors(whole, 4)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())
    held = load_file(whole / "steps" / "00000004" / "weights.safetensors")
    assert {name.rpartition(".")[2] for name in held} == {"lora_A", "lora_B"}
    averaged = load_file(image_model / "steps" / "00000004" / "average-0.050.safetensors")
    base = load_file(whole / "base.safetensors")
    assert base.keys() == averaged.keys()
    assert all(torch.equal(tensor, averaged[name]) for name, tensor in base.items())
    assert any(bool(tensor.abs().max() > 0) for name, tensor in held.items() if name.endswith("lora_B"))


def test_a_merged_checkpoint_is_plain_and_samples_as_its_branches_do(image_model: Path, low_rank: Path, tmp_path: Path):
    own, both = tmp_path / "own", tmp_path / "both"
    models("merge", low_rank / "ckpt", "--out", own)
    models("merge", image_model, "--lora", low_rank / "lora.safetensors", "--out", both)
    there = weights(own)
    assert there.keys() == weights(image_model).keys()
    assert all(torch.equal(tensor, there[name]) for name, tensor in weights(both).items())
    with safe_open(str(low_rank / "lora.safetensors"), "pt") as opened:
        header = opened.metadata()
    held = load_file(low_rank / "lora.safetensors")
    doubled = {name: tensor.double() if name.endswith("A") else tensor for name, tensor in held.items()}
    save_file(doubled, tmp_path / "doubled.safetensors", header)
    file = ("--lora", low_rank / "lora.safetensors", "--lora", tmp_path / "doubled.safetensors")
    models("merge", image_model, *file, "--out", tmp_path / "twice")
    once, base = weights(both), weights(image_model)
    for name, tensor in weights(tmp_path / "twice").items():
        torch.testing.assert_close(tensor - once[name], once[name] - base[name], rtol=0, atol=1e-6)
    assert "safetensors" not in models("info", own).stdout
    assert "lora.safetensors" in models("info", both).stdout
    found = {}
    for name, checkpoint in (("branches", low_rank / "ckpt"), ("merged", own), ("base", image_model)):
        network = load(checkpoint).network.eval()
        z = torch.randn(1, 1, network.backbone.config.in_channels, 8, 8, generator=torch.Generator().manual_seed(0))
        conditions = network.conditioner.conditions([""], {}, [None])
        with torch.no_grad():
            found[name] = network(z, torch.tensor([0.5]), conditions).numpy()
    scale = abs(found["branches"]).max()
    np.testing.assert_allclose(found["merged"], found["branches"], rtol=0, atol=1e-5 * scale)
    assert abs(found["base"] - found["branches"]).max() > 0.1 * scale
    models("sample", own, "--n", 1, "--out", tmp_path / "samples", "--device", "cpu")
    averaged = ("--average", 0.08, "--device", "cpu")  # of another width, from snapshots of what learns
    models("sample", low_rank / "ckpt", "--n", 1, "--out", tmp_path / "averaged", *averaged)


def test_a_merged_checkpoint_is_begun_with_and_not_gone_on_with(low_rank: Path, tiny_run: Path, tmp_path: Path):
    own = tmp_path / "own"
    models("merge", low_rank / "ckpt", "--out", own)
    refused = invoke("models", "train", tiny_run, *image_options(), "--out", own, "--steps", 3)
    one_line(refused, "merged and not trained", "train.init=")
    begun = low_rank_options(own)
    said = models("train", tiny_run, *begun, "--out", tmp_path / "next", "--steps", 1).stdout
    assert "30 of 30 tensors came" in said
    assert "new: 0; of the old, missing: 0; 8 tensors of branches" in said


def test_branches_under_the_names_of_diffusers_are_the_same_change(image_model: Path, low_rank: Path, tmp_path: Path):
    models("lora", low_rank / "ckpt", "--out", tmp_path / "d.safetensors", "--diffusers")
    named = load_file(tmp_path / "d.safetensors")
    attention = "transformer.transformer_blocks.1.attn1"
    assert {name.removeprefix(f"{attention}.") for name in named if name.startswith(attention)} == {
        f"{leaf}.lora_{half}.weight" for leaf in ("to_q", "to_k", "to_v", "to_out.0") for half in "AB"
    }
    own = weights(low_rank / "ckpt")
    block = "backbone.blocks.1.attention.query_key_value"
    for part, leaf in enumerate(("to_q", "to_k", "to_v")):
        down, up = (named[f"{attention}.{leaf}.lora_{half}.weight"] for half in "AB")
        assert down.shape == (2, 32)
        torch.testing.assert_close(up @ down, own[f"{block}.lora_B"][part] @ own[f"{block}.lora_A"][part])
    merged = tmp_path / "merged"
    refused = invoke("models", "merge", image_model, "--lora", tmp_path / "d.safetensors", "--out", merged)
    one_line(refused, "names of diffusers", "without --diffusers")


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("backbone.blocks.time3.attention.output", "transformer.temporal_transformer_blocks.3.attn1.to_out.0"),
        ("backbone.blocks.space0.cross.query", "transformer.transformer_blocks.0.attn2.to_q"),
        ("backbone.down.1-0.attention.space0.attention.output",
         "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0"),
        ("backbone.up.2-1.attention.time0.layers.cross.output",
         "unet.up_blocks.1.attentions.1.temporal_transformer_blocks.0.attn2.to_out.0"),
        ("backbone.middle.0.attention.time0.layers.attention.output",
         "unet.mid_block.attentions.0.temporal_transformer_blocks.0.attn1.to_out.0"),
    ],
)  # fmt: skip
def test_places_have_their_names_in_diffusers(place: str, named: str):
    halves = torch.zeros(1, 2, 8), torch.zeros(1, 8, 2)
    assert set(diffusers_tensors({place: halves}, 4)) == {f"{named}.lora_A.weight", f"{named}.lora_B.weight"}


def test_a_file_of_other_weights_or_of_none_is_one_line(image_model: Path, low_rank: Path, tmp_path: Path):
    lora, base, out = low_rank / "lora.safetensors", image_model, tmp_path / "merged"

    def merged(file: Path, checkpoint: Path = base, *more: object) -> str:
        line = one_line(invoke("models", "merge", checkpoint, "--lora", file, "--out", out, *more))
        assert not out.exists()
        return line

    own = tmp_path / "own"
    models("merge", low_rank / "ckpt", "--out", own)
    assert "was trained beside the weights" in merged(lora, own)
    assert "was trained beside the weights" in merged(lora, base, "--average", 0.1)
    assert "cannot read" in merged(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors")
    assert "cannot read" in merged(tmp_path / "text.safetensors")
    assert "no file of `models lora`" in merged(base / "autoencoder.safetensors")
    with safe_open(str(lora), "pt") as file:
        header = file.metadata()
    held = load_file(lora)
    name = next(iter(held))
    wide = {name: torch.ones(1, 1, 10**6), name[:-1] + "B": torch.ones(1, 10**6, 1)}  # a product of terabytes
    whole = {name: held[name].to(torch.int64)}
    parts = ({name: held[name][..., :-1]}, {"x.lora_A": held[name]}, {"y": held[name]}, wide, whole)
    save_file({}, tmp_path / "empty.safetensors", header)
    assert "holds no low-rank branch" in merged(tmp_path / "empty.safetensors")
    for k, change in enumerate(parts):
        save_file({n: t.clone() for n, t in (held | change).items()}, tmp_path / f"{k}.safetensors", header)
        assert "write it again" in merged(tmp_path / f"{k}.safetensors")


def test_nothing_to_write_and_places_that_are_taken_are_one_line(image_model: Path, low_rank: Path, tmp_path: Path):
    ckpt, base, free = low_rank / "ckpt", image_model, tmp_path / "l.safetensors"
    one_line(invoke("models", "lora", base, "--out", free), "no low-rank branches", "train.learn=lora:8")
    one_line(invoke("models", "lora", ckpt, "--out", low_rank / "lora.safetensors"), "exists: choose another --out")
    one_line(invoke("models", "lora", ckpt, "--out", tmp_path / "l.bin"), "does not end in .safetensors")
    one_line(invoke("models", "lora", tmp_path, "--out", free), "no checkpoint of `models train`")
    one_line(invoke("models", "merge", base, "--out", tmp_path / "m"), "nothing to merge: give --lora")
    one_line(invoke("models", "merge", ckpt, "--out", tmp_path), "exists: choose another --out")


def test_weights_that_did_not_learn_are_those_of_the_beginning(
    image_model: Path, low_rank: Path, tiny_run: Path, tmp_path: Path
):
    out = shutil.copytree(low_rank / "ckpt", tmp_path / "ckpt")
    before = contents(out)
    base = load_file(out / "base.safetensors")
    name = next(iter(base))
    save_file(base | {name: base[name] + 1e-3}, out / "base.safetensors")
    options = low_rank_options(image_model)
    for command in (
        ("train", tiny_run, *options, "--out", out, "--steps", 5),
        ("sample", out, "--out", tmp_path / "s"),
    ):
        one_line(invoke("models", *command), "base.safetensors holds other weights", "copy the checkpoint again")
    (out / "base.safetensors").unlink()
    one_line(invoke("models", "sample", out, "--out", tmp_path / "s"), "cannot read", "base.safetensors")
    (out / "base.safetensors").write_bytes(before["base.safetensors"])
    card = json.loads(before["card.json"])
    card["config"]["train"]["learn"] = "lora:999999"
    (out / "card.json").write_text(json.dumps(card))
    one_line(invoke("models", "sample", out, "--out", tmp_path / "s"), "rank")
