"""Autoencoders as files: round trips, checksums, and one line for every broken file."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from clipmill.curate.errors import UserError
from clipmill.models.autoencoder_for import autoencoder_named
from clipmill.models.autoencoders.by_name import options_of
from clipmill.models.autoencoders.pixels import Pixels, PixelsConfig
from clipmill.models.autoencoders.saving import load_autoencoder, read_facts, save_autoencoder, weights_sha256

torch.set_num_threads(1)
OPTIONS = {
    "pixels": {"space_factor": 2, "components": 5},
    "frame": {"latent_channels": 3, "widths": [8, 8], "depth": 1, "groups": 4, "temporal_decoder": True},
    "causal": {
        "latent_channels": 3,
        "width": 8,
        "multipliers": [1, 1],
        "depth": 1,
        "time_factor": 2,
        "space_factor": 2,
        "groups": 4,
    },
}


def video(frames=3):
    return torch.rand(1, frames, 3, 8, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1


def made(kind):
    torch.manual_seed(0)
    autoencoder = autoencoder_named(kind, OPTIONS[kind])
    if isinstance(autoencoder, Pixels):
        autoencoder.fit([video()])
    autoencoder.latent_mean += 0.5
    return autoencoder


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "folder" / "autoencoder.safetensors"
    save_autoencoder(path, made("causal"), {"step": 7})
    return path


def with_entry(path, change):
    """The file with another header."""
    from safetensors import safe_open

    with safe_open(str(path), "pt") as file:
        entry = json.loads(file.metadata()["clipmill"])
    save_file(load_file(str(path)), str(path), {"clipmill": json.dumps(entry | change)})


@pytest.mark.parametrize("kind", list(OPTIONS))
@torch.no_grad()
def test_a_file_gives_back_the_same_autoencoder_bit_by_bit(kind, tmp_path):
    autoencoder, path = made(kind), tmp_path / "a.safetensors"
    save_autoencoder(path, autoencoder, {"steps": 3})
    assert list(tmp_path.iterdir()) == [path]
    for found in (load_autoencoder(path), autoencoder_named(kind, {}, path)):
        assert type(found) is type(autoencoder)
        assert found.config == autoencoder.config
        assert not found.training
        assert torch.equal(found.latent_mean, autoencoder.latent_mean)
        for one, other in zip(found.encode(video()), autoencoder.encode(video()), strict=True):
            assert torch.equal(one, other)
        latents = autoencoder.encode(video()).mean
        assert torch.equal(found.decode(latents), autoencoder.decode(latents))
        assert all(parameter.requires_grad and parameter.device.type == "cpu" for parameter in found.parameters())
        assert weights_sha256(found) == weights_sha256(autoencoder)
    assert read_facts(path) == {"steps": 3}


def test_weights_in_half_precision_are_read_in_single(saved):
    save_file_as_half = {name: tensor.half() for name, tensor in load_file(str(saved)).items()}
    entry = {"format": 1, "kind": "causal", "options": options_of(made("causal")), "facts": {}}
    save_file(save_file_as_half, str(saved), {"clipmill": json.dumps(entry)})
    found = load_autoencoder(saved)
    assert {tensor.dtype for tensor in found.state_dict().values()} == {torch.float32}
    torch.testing.assert_close(found.encode(video()).mean, made("causal").encode(video()).mean, rtol=0, atol=2e-2)


def test_the_checksum_follows_what_latents_depend_on():
    one, other = made("causal"), made("causal")
    checksum = weights_sha256(one)
    assert len(checksum) == 64
    assert weights_sha256(other) == checksum
    # How latents are scaled afterwards does not make those in a cache other ones.
    other.latent_std *= 2
    assert weights_sha256(other) == checksum
    with torch.no_grad():
        next(other.parameters()).view(-1)[0] += 1e-6
    assert weights_sha256(other) != checksum
    plain = [weights_sha256(Pixels(PixelsConfig(space_factor=factor))) for factor in (2, 4)]
    assert plain[0] != plain[1]
    # Options that came later are in no hash of before, where they change nothing.
    assert plain[1].startswith("44d61f8c4bc32195")
    longer = [Pixels(PixelsConfig(time_factor=2)), Pixels(PixelsConfig(scale=0.5))]
    assert len({plain[1], *map(weights_sha256, longer)}) == 3


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_a_file_cut_short_is_one_line(saved, length):
    saved.write_bytes(saved.read_bytes()[:length])
    with pytest.raises(UserError, match=r"cannot read the autoencoder .*copy or train it again") as caught:
        load_autoencoder(saved)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot read the autoencoder"):
        load_autoencoder(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="cannot read the autoencoder"):
        load_autoencoder(tmp_path)


def test_tensors_of_something_else_are_one_line(tmp_path):
    path = tmp_path / "other.safetensors"
    for metadata in (None, {"clipmill": "[]"}, {"clipmill": '{"format": 99}'}):
        save_file({"x": torch.zeros(2)}, str(path), metadata)
        with pytest.raises(UserError, match="is no autoencoder that this version of clipmill wrote"):
            load_autoencoder(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "vector"}, "no autoencoder 'vector'"),
        (
            {"options": OPTIONS["causal"] | {"width": 16}},
            r"has shape \[8, 3, 3, 3, 3\], its options say \[16, 3, 3, 3, 3\]",
        ),
        ({"options": OPTIONS["causal"] | {"depth": 2}}, "lacks tensor"),
        ({"options": OPTIONS["causal"] | {"attention": False}}, "has an unknown tensor"),
        ({"options": {"widht": 8}}, "options.widht"),
        ({"options": 3}, "a table of settings"),
    ],
)
def test_headers_that_do_not_fit_the_tensors_are_one_line(saved, change, message):
    with_entry(saved, change)
    with pytest.raises(UserError, match=message) as caught:
        load_autoencoder(saved)
    assert "\n" not in str(caught.value)


def test_a_file_of_another_kind_names_its_own(saved):
    with pytest.raises(UserError, match=r"set autoencoder\.kind=causal"):
        autoencoder_named("frame", {}, saved)
