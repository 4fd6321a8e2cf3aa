"""Weight files of I3D in every layout that is about, and the proof of their identity."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import SHARED
from helpers.i3d_state_dicts import as_kinetics_port, as_pytorch_i3d, table_of
from helpers.tensor_bundle_writer import write_bundle

from clipmill.curate import weights
from clipmill.curate.errors import UserError
from clipmill.evaluate.features.i3d import I3D
from clipmill.evaluate.features.i3d_random import seeded_variables
from clipmill.evaluate.networks import i3d_weights
from clipmill.evaluate.networks.i3d_weights import check, published_table

pytestmark = pytest.mark.slow


SCOPE = "RGB/inception_i3d/"


@pytest.fixture(scope="module")
def seeded():
    return seeded_variables(0)


@pytest.fixture(scope="module")
def seeded_table(seeded):
    return table_of(seeded)


def test_published_table_has_the_whole_network():
    table = published_table()
    assert len(table) == 230
    assert sum(int(np.prod(known.shape)) for known in table.values()) == 12_704_544
    assert len({known.crc32c for known in table.values()}) == 230


class Holder(torch.nn.Module):
    """Anything whose state dict can be chosen, for a TorchScript archive."""

    def __init__(self, state):
        super().__init__()
        for k, values in enumerate(state.values()):
            self.register_buffer(f"layer_{k}", values)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def save(kind, folder, variables):
    if kind == "checkpoint":
        return write_bundle(folder / "model.ckpt", {SCOPE + name: values for name, values in variables.items()})
    if kind == "compressed checkpoint":
        return write_bundle(
            folder / "model.ckpt", {SCOPE + name: values for name, values in variables.items()}, compress=True
        )
    path = folder / "file.pt"
    if kind == "torchscript":
        torch.jit.script(Holder(as_pytorch_i3d(variables))).save(str(path))
    elif kind == "nested":
        torch.save({"state_dict": {f"module.{k}": v for k, v in as_pytorch_i3d(variables).items()}, "epoch": 3}, path)
    elif kind == "safetensors":
        from safetensors.numpy import save_file

        path = folder / "file.safetensors"
        save_file(variables, path)
    else:
        torch.save({"pytorch-i3d": as_pytorch_i3d, "kinetics port": as_kinetics_port}[kind](variables), path)
    return path


KINDS = ["checkpoint", "compressed checkpoint", "torchscript", "pytorch-i3d", "kinetics port", "nested", "safetensors"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_layout_is_proven_tensor_by_tensor(tmp_path, seeded, seeded_table, kind):
    report = check(save(kind, tmp_path, seeded), seeded_table)
    assert report.proven
    assert report.extra == ()
    assert "230 of 230 tensors are equal" in report.verdict
    assert all(np.array_equal(report.variables[name], values) for name, values in seeded.items())
    assert all(report.variables[name].shape == values.shape for name, values in seeded.items())


@pytest.mark.parametrize("kind", ["checkpoint", "pytorch-i3d", "kinetics port", "nested", "safetensors"])
def test_one_changed_value_is_found_by_name(tmp_path, seeded, seeded_table, kind):
    name = "Mixed_5b/Branch_2/Conv3d_0a_3x3/conv_3d/w"
    changed = dict(seeded)
    changed[name] = seeded[name].copy()
    changed[name][2, 1, 0, 3, 7] = np.nextafter(seeded[name][2, 1, 0, 3, 7], np.float32(9))
    report = check(save(kind, tmp_path, changed), seeded_table)
    assert not report.proven
    assert report.differing == (name,)
    assert report.missing == report.extra == ()
    assert f"229 of 230 tensors are equal by CRC32C, not {name}" in report.verdict
    assert f"differs {name}" in report.lines()


def test_scales_that_are_not_one_a_missing_and_a_strange_tensor_are_listed(tmp_path, seeded, seeded_table):
    state = as_pytorch_i3d(seeded)
    state["Conv3d_1a_7x7.bn.weight"] = torch.full((64,), 2.0)
    del state["logits.conv3d.bias"]
    torch.save(state, tmp_path / "file.pt")
    report = check(tmp_path / "file.pt", seeded_table)
    assert report.missing == ("Logits/Conv3d_0c_1x1/conv_3d/b",)
    assert report.extra == ("Conv3d_1a_7x7.bn.weight",)
    assert len(report.variables) == 229


def test_names_of_all_families_mean_the_same(seeded):
    table = published_table()
    for family in (as_pytorch_i3d, as_kinetics_port):
        meant = {i3d_weights.tf_name(name, table) for name in family(seeded)}
        assert meant - {None} == set(table)


@pytest.mark.parametrize("name", ["rgb_imagenet.pt", "RGB_imagenet.pt", "flow_imagenet.pt"])
def test_wrong_networks_are_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"whatever")
    with pytest.raises(UserError, match="wrong network for FVD") as error:
        I3D(weights=tmp_path / name)
    assert "\n" not in str(error.value)
    assert name.lower().removesuffix(".pt") in str(error.value)


def test_wrong_checkpoint_folder_is_refused_by_name(tmp_path, seeded):
    prefix = write_bundle(
        tmp_path / "rgb_imagenet" / "model.ckpt", {SCOPE + name: values for name, values in seeded.items()}
    )
    for path in (prefix, prefix.parent, prefix.with_name("model.ckpt.index")):
        with pytest.raises(UserError, match=r"rgb_imagenet by its name.*initialised from ImageNet"):
            i3d_weights.load(path)


def test_wrong_networks_are_known_by_their_published_checksum(tmp_path, monkeypatch):
    path = tmp_path / "renamed.pt"
    path.write_bytes(b"the bytes of some published file")
    monkeypatch.setattr(i3d_weights, "_WRONG_BLOBS", {weights.git_blob_sha1(path): "model_rgb.pth"})
    assert "model_rgb.pth, which is the wrong network" in check(path).verdict
    path.write_bytes(b"hello\n")
    assert weights.git_blob_sha1(path) == "ce013625030ba8dba906f756967f9e9ca394464a"


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut"])
def test_unreadable_files_are_one_line(tmp_path, content):
    (tmp_path / "file.pt").write_bytes(content)
    with pytest.raises(UserError, match="no weights that can be read without running its code") as error:
        check(tmp_path / "file.pt")
    assert "\n" not in str(error.value)


def test_pickled_code_is_not_run(tmp_path):
    marker = tmp_path / "ran"
    torch.save({"weights": _Runs(str(marker))}, tmp_path / "file.pt")
    with pytest.raises(UserError, match="no weights that can be read without running its code"):
        check(tmp_path / "file.pt")
    assert not marker.exists()


class _Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def test_other_networks_are_named_as_such(tmp_path, seeded_table):
    torch.save({"layer.weight": torch.ones(3, 4), "layer.bias": torch.zeros(3)}, tmp_path / "file.pt")
    assert "not an I3D in a known layout: 0 of 230" in check(tmp_path / "file.pt", seeded_table).verdict


def test_weights_are_found_in_the_cache_folder(tmp_path, monkeypatch, seeded, seeded_table):
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path))
    write_bundle(tmp_path / "rgb_scratch" / "model.ckpt", {SCOPE + name: values for name, values in seeded.items()})
    assert set(i3d_weights.load(None, seeded_table)) == set(seeded)


def test_table_in_the_package_is_the_published_one():
    path = SHARED / "goldens" / "i3d_rgb_scratch_crc32c.json"
    if not path.is_file():
        pytest.skip(f"no table at {path}")
    shared = json.loads(path.read_text(encoding="utf-8"))
    assert {SCOPE + name: (list(k.shape), k.crc32c) for name, k in published_table().items()} == {
        name: (row["shape"], row["crc32c"]) for name, row in shared.items()
    }
