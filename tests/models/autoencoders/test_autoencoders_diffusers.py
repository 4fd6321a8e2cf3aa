"""Weights between the frame-wise autoencoder and diffusers' AutoencoderKL."""

import json

import pytest
import torch
from safetensors.torch import save_file

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.diffusers_weights import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    from_diffusers,
    load_diffusers,
    to_diffusers,
)
from clipmill.models.autoencoders.frame import FrameAutoencoder, FrameConfig

torch.set_num_threads(1)
CONFIG = {
    "latent_channels": 4,
    "block_out_channels": [8, 8, 16],
    "layers_per_block": 2,
    "norm_num_groups": 4,
    "scaling_factor": 0.5,
}


def frame(**options):
    torch.manual_seed(0)
    shape = {"latent_channels": 4, "widths": (8, 8, 16), "depth": 2, "groups": 4}
    autoencoder = FrameAutoencoder(FrameConfig(**(shape | options))).eval()
    with torch.no_grad():
        for parameter in autoencoder.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return autoencoder


def video(frames=2):
    return torch.rand(1, frames, 3, 24, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("with_attention", [True, False])
@pytest.mark.parametrize("with_moments", [True, False])
@torch.no_grad()
def test_outputs_are_those_of_diffusers_with_the_same_weights(with_attention, with_moments):
    diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")
    torch.manual_seed(0)
    options = CONFIG | {
        "mid_block_add_attention": with_attention,
        "use_quant_conv": with_moments,
        "use_post_quant_conv": with_moments,
    }
    kinds = {"down_block_types": ["DownEncoderBlock2D"] * 3, "up_block_types": ["UpDecoderBlock2D"] * 3}
    theirs, x = diffusers.AutoencoderKL(**(options | kinds)).eval(), video()
    for parameter in theirs.parameters():
        parameter += 0.1 * torch.randn(parameter.shape)
    mine = from_diffusers(dict(theirs.config), theirs.state_dict())
    posterior, expected = mine.encode(x), theirs.encode(x[0]).latent_dist
    torch.testing.assert_close(posterior.mean[0], expected.mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(posterior.std[0], expected.std, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        mine.decode(posterior.mean)[0], theirs.decode(expected.mean).sample, rtol=1e-4, atol=1e-4
    )
    if with_moments:
        back = to_diffusers(mine)
        assert back.keys() == theirs.state_dict().keys()
        assert all(torch.equal(back[name], tensor) for name, tensor in theirs.state_dict().items())


@torch.no_grad()
def test_there_and_back_changes_no_bit_and_older_names_are_known(tmp_path):
    autoencoder, x = frame(), video()
    older = {
        name.replace("to_q", "query").replace("to_out.0", "proj_attn"): tensor
        for name, tensor in to_diffusers(autoencoder).items()
    }
    (tmp_path / CONFIG_FILE).write_text(json.dumps(CONFIG | {"_class_name": "AutoencoderKL", "shift_factor": 0.25}))
    save_file(older, str(tmp_path / WEIGHTS_FILE))
    found = load_diffusers(tmp_path, temporal_decoder=True)
    assert torch.equal(found.encode(x).mean, autoencoder.encode(x).mean)
    latents = torch.randn(1, 2, 4, 6, 4)
    assert torch.equal(found.decode(latents), autoencoder.decode(latents))
    assert found.latent_std.tolist() == [2] * 4
    assert found.latent_mean.tolist() == [0.25] * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "AutoencoderKLWan"}, "AutoencoderKLWan"),
        ({"layers_per_block": 1}, "on one side only"),
        ({"block_out_channels": [8, 8, 32]}, "the config says"),
        ({"block_out_channels": None}, "incomplete or wrong"),
    ],
)
def test_weights_of_another_shape_are_one_line(change, message):
    with pytest.raises(UserError, match=message) as caught:
        from_diffusers(CONFIG | change, to_diffusers(frame()))
    assert "\n" not in str(caught.value)


def test_what_diffusers_has_no_place_for_is_refused(tmp_path):
    with pytest.raises(UserError, match="temporal decoder"):
        to_diffusers(frame(temporal_decoder=True))
    with pytest.raises(UserError, match=CONFIG_FILE):
        load_diffusers(tmp_path)
