"""I3D against logits of the original TensorFlow graph, and the feature networks made of it. References: goldens/ in the
shared folder.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.commands import SHARED
from helpers.i3d_state_dicts import as_pytorch_i3d, table_of

from clipmill.curate import weights
from clipmill.curate.errors import UserError
from clipmill.evaluate.features import network_class
from clipmill.evaluate.features.i3d import I3D
from clipmill.evaluate.features.i3d_random import I3DRandom, seeded_variables
from clipmill.evaluate.networks import i3d_weights
from clipmill.evaluate.networks.i3d import (
    I3DNetwork,
    _precision_switches,
    features,
    max_pool,
    same_padding,
    true_float32,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def seeded():
    return seeded_variables(0)


@pytest.fixture(scope="module")
def seeded_table(seeded):
    return table_of(seeded)


@pytest.fixture(scope="module")
def network(seeded):
    return I3DNetwork(seeded)


@pytest.fixture
def goldens():
    folder = SHARED / "goldens"
    if not folder.is_dir():
        pytest.skip(f"no reference values at {folder}")
    return folder


def golden_input(frames, clips=2):
    videos = np.random.RandomState(1).rand(2, frames, 224, 224, 3).astype(np.float32) * 2 - 1
    return torch.from_numpy(videos[:clips]).permute(0, 1, 4, 2, 3)


def relative(found, expected):
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


# The network


@pytest.mark.parametrize(("frames", "clips"), [(9, 1), (10, 1), (15, 1), (16, 2), (17, 1)])
def test_logits_are_those_of_the_original_graph(goldens, network, frames, clips):
    expected = np.load(goldens / "tf_logits_by_length.npz")[f"T{frames}"][:clips]
    found = features(network, golden_input(frames, clips)).numpy()
    assert found.shape == (clips, 400)
    assert relative(found, expected) < 3e-6


def test_both_arrangements_agree(seeded, network):
    plain = I3DNetwork(seeded, folded=False, channels_last=False)
    videos = golden_input(9, clips=1)
    assert relative(features(plain, videos).numpy(), features(network, videos).numpy()) < 3e-6


@pytest.mark.parametrize(("size", "kernel", "stride", "expected"), [
    (224, 7, 2, (2, 3)), (16, 7, 2, (2, 3)), (9, 7, 2, (3, 3)), (112, 3, 2, (0, 1)), (5, 3, 2, (1, 1)),
    (8, 3, 1, (1, 1)),
])  # fmt: skip
def test_same_padding(size, kernel, stride, expected):
    assert same_padding((size,) * 3, (kernel,) * 3, (stride,) * 3) == [expected] * 3


@pytest.mark.parametrize("size", [(5, 8, 9), (2, 7, 7), (8, 6, 5), (1, 3, 4)])
@pytest.mark.parametrize(
    ("kernel", "stride"),
    [((3, 3, 3), (2, 2, 2)), ((2, 2, 2), (2, 2, 2)), ((1, 3, 3), (1, 2, 2)), ((3, 3, 3), (1, 1, 1))],
)
def test_max_pool_is_padding_with_minus_infinity(size, kernel, stride):
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    padding = [n for pair in reversed(same_padding(size, kernel, stride)) for n in pair]
    assert torch.equal(
        max_pool(x, kernel, stride), F.max_pool3d(F.pad(x, padding, value=float("-inf")), kernel, stride)
    )


def test_short_clips_and_other_shapes_are_one_line(network):
    with pytest.raises(UserError, match="at least 9 frames, these have 8"):
        features(network, torch.zeros(1, 8, 3, 224, 224))
    with pytest.raises(UserError, match=r"not \[1, 9, 3, 64, 64\]"):
        features(network, torch.zeros(1, 9, 3, 64, 64))


def test_precision_is_true_inside_and_restored_outside(network):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with true_float32():
            name, value, owners = _precision_switches()
            assert [getattr(owner, name) for owner in owners] == [value] * len(owners)
        assert torch.get_float32_matmul_precision() == "medium"
        videos = golden_input(9, clips=1)
        with torch.autocast("cpu", torch.bfloat16):
            inside = features(network, videos)
    finally:
        torch.set_float32_matmul_precision(before)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, features(network, videos))


# The feature classes


def test_random_network_needs_no_file_and_is_never_called_fvd():
    cls = network_class("i3d-random")
    assert cls is I3DRandom
    one = cls(seed=3)
    assert (one.frechet_name, one.kernel_name) == ("Fréchet distance (random I3D)", "kernel distance (random I3D)")
    assert one.identity == "i3d-random seed=3 bn_eps=0.001 input_range=1"
    assert cls(bn_eps=1e-5).identity == "i3d-random seed=0 bn_eps=1e-05 input_range=1"
    with pytest.raises(UserError, match="takes no weights"):
        cls(weights=Path("x.pt"))


def test_i3d_is_named_after_what_is_proven(tmp_path, monkeypatch, seeded, seeded_table):
    path = tmp_path / "i3d_pretrained_400.pt"
    torch.save(as_pytorch_i3d(seeded), path)
    with pytest.raises(UserError, match="an I3D, but not the one of FVD: 0 of 230"):
        I3D(weights=path)
    monkeypatch.setattr(i3d_weights, "published_table", lambda: seeded_table)
    proven = I3D(weights=path)
    assert (proven.frechet_name, proven.kernel_name) == ("FVD", "KVD")
    assert proven.identity.startswith("i3d rgb_scratch crc32c:")
    assert proven.identity.endswith(" bn_eps=0.001 input_range=1")
    assert I3D(weights=path, bn_eps=1e-5).identity.endswith(" bn_eps=1e-05 input_range=1")
    assert torch.equal(proven(golden_input(9, 1)), I3DRandom()(golden_input(9, 1)))
    halved = I3D(weights=path, input_range=0.5)
    assert halved.identity.endswith(" input_range=0.5")
    assert torch.equal(halved(golden_input(9, 1)), proven(golden_input(9, 1) / 2))
    assert not torch.allclose(halved(golden_input(9, 1)), proven(golden_input(9, 1)), rtol=1e-2)


def test_without_weights_one_line_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path))
    with pytest.raises(
        UserError, match=r"put i3d_torchscript.pt, i3d_pretrained_400.pt or rgb_scratch into .*--weights"
    ) as error:
        I3D()
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="no such file"):
        I3D(weights=tmp_path / "absent.pt")
