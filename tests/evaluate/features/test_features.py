"""The feature networks that need files, through their real libraries, with small random weights written to a temporary
folder.
"""

import json

import numpy as np
import pytest
import torch

from clipmill.curate.errors import UserError
from clipmill.evaluate.features import names, network_class

pytestmark = pytest.mark.slow


def videos(batch: int, frames: int, side_px: int, seed: int = 0) -> torch.Tensor:
    """float32 [B, T, 3, S, S] in [-1, 1]."""
    return torch.rand(batch, frames, 3, side_px, side_px, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(autouse=True)
def no_files_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPMILL_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def no_network(monkeypatch):
    def connect(*arguments):
        raise AssertionError(f"asked the network: {arguments}")

    monkeypatch.setattr("socket.socket.connect", connect)


def test_every_network_is_found_by_its_file():
    assert {"clip", "inception", "inception-logits", "mini", "videomae"} <= set(names())


@pytest.mark.parametrize("name", ["videomae", "clip", "inception", "inception-logits"])
def test_missing_weights_are_one_line_and_no_download(name, no_network):
    with pytest.raises(UserError) as caught:
        network_class(name)()
    assert "\n" not in str(caught.value)
    assert "--weights" in str(caught.value)


# --- VideoMAE


@pytest.fixture(scope="module")
def videomae_folder(tmp_path_factory):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    shape = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    config = transformers.VideoMAEConfig(image_size=32, patch_size=8, num_frames=16, tubelet_size=2, **shape)
    folder = tmp_path_factory.mktemp("videomae")
    transformers.VideoMAEModel(config).eval().save_pretrained(folder)
    return folder


def test_videomae_is_the_mean_of_the_last_tokens_of_normalised_pictures(videomae_folder):
    from transformers import VideoMAEModel

    network = network_class("videomae")(weights=videomae_folder)
    clip = videos(2, 16, 32)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = (((clip + 1) / 2).movedim(2, -1) - mean) / std
    with torch.inference_mode():
        expected = (
            VideoMAEModel.from_pretrained(videomae_folder)
            .eval()(pixel_values=pixels.movedim(-1, 2))
            .last_hidden_state.mean(1)
        )
        found = network(clip)
    assert found.shape == (2, network.dim) == (2, 24)
    assert (network.side_px, network.min_frames) == (32, 16)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert "FVD" not in network.frechet_name


def test_videomae_sees_the_order_of_frames(videomae_folder):
    network = network_class("videomae")(weights=videomae_folder)
    clip = videos(1, 16, 32)
    with torch.inference_mode():
        assert not torch.allclose(network(clip), network(clip.flip(1)), atol=1e-4)


@pytest.mark.parametrize("frames", [8, 15, 17, 32])
def test_videomae_refuses_other_lengths(videomae_folder, frames):
    with pytest.raises(UserError, match="exactly 16 frames"):
        network_class("videomae")(weights=videomae_folder)(videos(1, frames, 32))


def test_videomae_refuses_half_a_network(videomae_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    state = load_file(videomae_folder / "model.safetensors")
    dropped = min(k for k in state if "layer.1." in k)
    save_file({k: v for k, v in state.items() if k != dropped}, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text((videomae_folder / "config.json").read_text())
    with pytest.raises(UserError, match="no whole VideoMAE"):
        network_class("videomae")(weights=tmp_path)


# --- CLIP


@pytest.fixture(scope="module")
def clip_weights(tmp_path_factory):
    """A tiny architecture that open_clip is told of, and random weights for it."""
    open_clip = pytest.importorskip("open_clip")
    folder = tmp_path_factory.mktemp("clip")
    vision = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    (folder / "tiny-clipmill-test.json").write_text(
        json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text})
    )
    open_clip.add_model_config(folder / "tiny-clipmill-test.json")
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-clipmill-test", pretrained=None)
    torch.save(model.state_dict(), folder / "weights.pt")
    return folder / "weights.pt"


def test_clip_equals_open_clip_frame_by_frame(clip_weights):
    import open_clip

    network = network_class("clip")(weights=clip_weights, model="tiny-clipmill-test")
    reference = open_clip.create_model("tiny-clipmill-test", pretrained=str(clip_weights)).eval()
    clip = videos(2, 5, 32)
    mean, std = (torch.tensor(v) for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))
    with torch.inference_mode():
        found = network(clip)
        frame = (((clip[1, 3] + 1) / 2).movedim(0, -1) - mean) / std
        expected = reference.encode_image(frame.movedim(-1, 0)[None])[0]
    assert found.shape == (2, 5, network.dim) == (2, 5, 16)
    torch.testing.assert_close(found[1, 3], expected / expected.norm(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(2, 5))


def test_clip_puts_captions_in_the_same_space(clip_weights):
    network = network_class("clip")(weights=clip_weights, model="tiny-clipmill-test")
    with torch.inference_mode():
        text = network.text(["a cat", "a dog"])
    assert text.shape == (2, 16)
    torch.testing.assert_close(text.norm(dim=-1), torch.ones(2))


def test_clip_refuses_what_does_not_fit(clip_weights, tmp_path):
    with pytest.raises(UserError, match="no architecture 'nothing'"):
        network_class("clip")(weights=clip_weights, model="nothing")
    torch.save({"a": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="does not fit CLIP"):
        network_class("clip")(weights=tmp_path / "other.pt", model="tiny-clipmill-test")


# --- Inception


def random_inception(classes: int, aux: bool) -> dict[str, torch.Tensor]:
    """Seeded weights of which features are neither zero nor huge."""
    from torchvision.models import inception_v3

    torch.manual_seed(0)
    state = inception_v3(weights=None, init_weights=False, aux_logits=aux, num_classes=classes).state_dict()
    generator = torch.Generator().manual_seed(1)
    for name, value in state.items():
        if name.endswith("conv.weight"):
            value.normal_(0, (2 / value[0].numel()) ** 0.5, generator=generator)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
    return state


@pytest.fixture(scope="module")
def inception_files(tmp_path_factory):
    """variant -> file."""
    folder = tmp_path_factory.mktemp("inception")
    files = {"torchvision": folder / "tv.pth", "fid": folder / "fid.pth"}
    torch.save(random_inception(1000, aux=True), files["torchvision"])
    torch.save(random_inception(1008, aux=False), files["fid"])
    return files


@pytest.fixture(scope="module")
def inceptions(inception_files):
    """(network's name, variant) -> network."""
    return {
        (n, v): network_class(n)(weights=path)
        for n in ("inception", "inception-logits")
        for v, path in inception_files.items()
    }


def torchvision_inception(path, classes):
    from torchvision.models import inception_v3

    reference = inception_v3(weights=None, init_weights=False, transform_input=False, num_classes=classes)
    reference.load_state_dict(torch.load(path, weights_only=True), strict=False)
    return reference.eval()


def test_inception_equals_torchvision(inception_files, inceptions):
    reference = torchvision_inception(inception_files["torchvision"], 1000)
    clip = videos(1, 2, 299)
    with torch.inference_mode():
        pooled, logits = (inceptions[n, "torchvision"](clip) for n in ("inception", "inception-logits"))
        expected = reference(clip[0])
        reference.fc = torch.nn.Identity()
        expected_pooled = reference(clip[0])
    assert pooled.shape == (1, 2, 2048)
    torch.testing.assert_close(pooled[0], expected_pooled, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits[0], expected, rtol=1e-4, atol=1e-4)


def test_the_2015_graph_pools_in_its_own_way(inception_files, inceptions):
    """Against hand-made pooling of the three kinds of blocks; on constant pictures the average without padding keeps
    the constant.
    """
    inner = inceptions["inception", "fid"]._frames._network
    plain = torchvision_inception(inception_files["fid"], 1008)
    with torch.inference_mode():
        for name, width in (("Mixed_5b", 192), ("Mixed_6b", 768), ("Mixed_7b", 1280), ("Mixed_7c", 2048)):
            ours, theirs = inner.get_submodule(name), plain.get_submodule(name)
            x = torch.ones(1, width, 8, 8)
            branch = ours.branch_pool(x)
            n = branch.shape[1]
            torch.testing.assert_close(
                ours(x)[:, -n:], branch
            )  # neither the mean of the inside nor the maximum changes ones
            assert not torch.allclose(theirs(x)[:, -n:], branch, atol=1e-3)
            torch.testing.assert_close(ours(x)[:, :-n], theirs(x)[:, :-n])
        noise = torch.rand(1, 2048, 8, 8, generator=torch.Generator().manual_seed(0))
        largest = inner.Mixed_7c.branch_pool(torch.nn.functional.max_pool2d(noise, 3, 1, 1))
        torch.testing.assert_close(inner.Mixed_7c(noise)[:, -192:], largest)


def test_fid_is_not_claimed_for_unproven_weights(inceptions):
    for network in inceptions.values():
        assert "FID" not in network.label
        assert network.identity.endswith(("pooled", "logits"))
    assert inceptions["inception-logits", "fid"].dim == 1008
    assert inceptions["inception-logits", "torchvision"].dim == 1000


def test_logits_of_the_2015_graph_leave_out_the_bias(inception_files, inceptions):
    clip = videos(1, 1, 299)
    state = torch.load(inception_files["fid"], weights_only=True)
    with torch.inference_mode():
        pooled, logits = (inceptions[n, "fid"](clip) for n in ("inception", "inception-logits"))
    torch.testing.assert_close(logits, pooled @ state["fc.weight"].T, rtol=1e-4, atol=1e-4)


def test_inception_refuses_other_files(tmp_path):
    (tmp_path / "text.pth").write_text("no weights")
    torch.save({"fc.bias": torch.zeros(1000)}, tmp_path / "part.pth")
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name, reason in (("text.pth", "no readable"), ("part.pth", "another network"), ("array.npy", "no readable")):
        with pytest.raises(UserError, match=reason) as caught:
            network_class("inception")(weights=tmp_path / name)
        assert "\n" not in str(caught.value)
