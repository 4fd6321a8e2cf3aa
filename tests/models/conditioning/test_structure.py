"""The structure of a video: edges, a blur, depth."""

from pathlib import Path

import pytest
import torch

from clipmill.curate.errors import UserError
from clipmill.models.conditioning.config import FramesConfig
from clipmill.models.conditioning.depth import stretched
from clipmill.models.conditioning.observation import check_observed, observed

torch.set_num_threads(1)


def seen(kind: str, video: torch.Tensor, **options: object) -> torch.Tensor:
    return observed(FramesConfig("structure", structure=kind, **options), video)


def test_edges_are_where_the_brightness_changes():
    x = torch.full((1, 2, 3, 8, 10), -1.0)
    x[..., 5:] = 1.0
    found = seen("edges", x)
    assert found.shape == x.shape
    assert torch.allclose(found[..., 4:6], torch.tensor(1.0)), "both sides of a step from black to white"
    assert bool((found[..., :4] == -1).all()), "flat, up to the border"
    faint = seen("edges", x * 0.1)
    assert torch.allclose(faint[..., 4:6], torch.tensor(-0.8), atol=1e-6)
    across = seen("edges", x.transpose(3, 4))
    assert torch.allclose(across, found.transpose(3, 4))
    assert torch.equal(seen("edges", x.flip(4)), found.flip(4)), "a mirrored window has mirrored edges"


def test_a_blur_keeps_what_is_flat_and_takes_every_fine_pattern():
    flat = torch.full((1, 1, 3, 9, 12), 0.3)
    assert torch.allclose(seen("blur", flat), flat, atol=1e-6)
    fine = (torch.arange(32) % 2 * 2.0 - 1).expand(1, 1, 3, 32, 32)
    assert float(seen("blur", fine, blur_px=3.0)[..., 9:-9].abs().max()) < 1e-3
    # A Gaussian of standard deviation s leaves exp(-(w s)² / 2) of a wave of frequency w.
    wave = torch.cos(torch.arange(64) * 0.3).expand(1, 1, 3, 8, 64)
    left = seen("blur", wave, blur_px=2.0)[..., 8:-8] / wave[..., 8:-8]
    assert torch.allclose(left.median(), torch.tensor(-((0.3 * 2) ** 2) / 2).exp(), rtol=0.01)


def test_depth_is_what_the_network_says_stretched_over_each_video(tmp_path: Path):
    folder, x = depth_network(tmp_path / "depth"), torch.rand(2, 3, 3, 24, 32) * 2 - 1
    found = seen("depth", x, depth_model=str(folder))
    assert found.shape == x.shape
    assert found.flatten(1).amin(1).tolist() == [-1, -1]
    assert found.flatten(1).amax(1).tolist() == [1, 1]
    assert torch.equal(found[:, :, 0], found[:, :, 2])
    assert torch.allclose(seen("depth", x[1:], depth_model=str(folder)), found[1:], atol=1e-4), "each for itself"
    assert stretched(torch.tensor([[2.0, 2.0], [1.0, 3.0]])).tolist() == [[-1, -1], [-1, 1]]


def test_depth_without_its_network_is_one_line(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    for folder, says in ((tmp_path / "empty", "config.json"), (tmp_path / "none", "conditioning.frames.depth_model")):
        with pytest.raises(UserError, match=says):
            check_observed(FramesConfig("structure", structure="depth", depth_model=str(folder)), (4, 16, 16))
    broken = depth_network(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(UserError, match="no network that estimates depth"):
        seen("depth", torch.zeros(1, 1, 3, 24, 32), depth_model=str(broken))


def depth_network(folder: Path) -> Path:
    """A small network of a published class, with random weights."""
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config, DPTImageProcessor

    backbone = Dinov2Config(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        mlp_ratio=2,
        out_features=[f"stage{number}" for number in (1, 2, 3, 4)],
        reshape_hidden_states=False,
    )
    sizes = {"patch_size": 14, "neck_hidden_sizes": [8] * 4, "fusion_hidden_size": 8, "head_hidden_size": 8}
    config = DepthAnythingConfig(backbone_config=backbone, reassemble_hidden_size=32, **sizes)
    torch.manual_seed(0)
    DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    DPTImageProcessor(size={"height": 28, "width": 28}, keep_aspect_ratio=False).save_pretrained(folder)
    return folder
