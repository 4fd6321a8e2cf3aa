"""The card of a stranger's checkpoint: any claim is one line, before memory is asked for."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.commands import invoke, made_once, one_line
from helpers.whole_chain import make_chain
from safetensors.torch import save_file

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.saving import load_autoencoder
from clipmill.models.config import load
from clipmill.models.network import Network


@pytest.fixture
def checkpoint(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Path:
    """A checkpoint to change."""
    return shutil.copytree(made_once(tmp_path_factory, "chain", make_chain) / "ckpt", tmp_path / "ckpt")


def changed(checkpoint: Path, *place: str, to: Any) -> None:
    card = json.loads((checkpoint / "card.json").read_text())
    tree = card
    for name in place[:-1]:
        tree = tree[name]
    if to is None:
        del tree[place[-1]]
    else:
        tree[place[-1]] = to
    (checkpoint / "card.json").write_text(json.dumps(card))


def sampled(checkpoint: Path) -> str:
    out = checkpoint.parent / "samples"
    return one_line(invoke("models", "sample", checkpoint, "--out", out, "--n", 1, "--frames", 4, "--device", "cpu"))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("width", 10**6),
        ("width", 10**12),
        ("width", 64),
        ("depth", 10**9),
        ("depth", 10**12),
        ("depth", 3),
        ("mlp_ratio", 1e9),
        ("patch", [1, 10**6, 10**6]),
        ("head_dim", 10**12),
    ],
)
def test_a_network_is_what_its_weights_are(option: str, value: Any, checkpoint: Path):
    changed(checkpoint, "config", "backbone", "options", option, to=value)
    sampled(checkpoint)


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("data", "sizes", ["1000000x1000000"]),
        ("sample", "steps", 10**12),
        ("sample", "batch", 10**12),
        ("sample", "fps", 1e12),
        ("sample", "fps", "fast"),
    ],
)
def test_what_is_sampled_fits(section: str, name: str, value: Any, checkpoint: Path):
    changed(checkpoint, "config", section, name, to=value)
    sampled(checkpoint)


@pytest.mark.parametrize("name", ["config", "clips_sha256"])
def test_a_card_without_a_key_is_one_line(name: str, checkpoint: Path):
    changed(checkpoint, name, to=None)
    assert name in sampled(checkpoint)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"components": 10**12}, "components"),
        ({"space_factor": 10**6}, "tensor|memory"),
        ([], "is a table"),
        ({"x": 1}, "unknown"),
    ],
)
def test_an_autoencoder_is_what_its_weights_are(options: Any, says: str, tmp_path: Path):
    entry = {"format": 1, "kind": "pixels", "options": options, "facts": {}}
    save_file({"basis": torch.ones(2, 2)}, tmp_path / "a.safetensors", {"clipmill": json.dumps(entry)})
    with pytest.raises(UserError, match=says) as error:
        load_autoencoder(tmp_path / "a.safetensors")
    assert "\n" not in str(error.value)


def test_a_wide_frame_autoencoder_is_one_line(tmp_path: Path):
    for options in ({"depth": 10**12}, {"widths": [10**12]}, {"widths": [1] * 10**6}):
        entry = {"format": 1, "kind": "frame", "options": options, "facts": {}}
        save_file({"basis": torch.ones(2, 2)}, tmp_path / "a.safetensors", {"clipmill": json.dumps(entry)})
        with pytest.raises(UserError):
            load_autoencoder(tmp_path / "a.safetensors")


@pytest.mark.slow
def test_a_network_that_does_not_fit_is_one_line():
    with pytest.raises(UserError, match="memory"):
        Network(load("demo-nano", ["backbone.options.width=4000000"]), 12)
