"""A U-Net and the copy of its way down that steers it."""

from dataclasses import replace

import pytest
import torch
from helpers.denoising_oracles import one_thread  # noqa: F401
from torch.utils.flop_counter import FlopCounterMode

from clipmill.curate.errors import UserError
from clipmill.models.adapt.bringing import Side, bring
from clipmill.models.adapt.what_learns import learning_names
from clipmill.models.autoencoder_for import autoencoder_of
from clipmill.models.backbones.contract import Conditioning
from clipmill.models.backbones.controlled import ControlledUNet
from clipmill.models.backbones.unet import UNet, UNetConfig
from clipmill.models.config import load
from clipmill.models.layers.plan import SPATIAL
from clipmill.models.network import seeded_network
from clipmill.models.settings.learn import learn_of

IMAGE = UNetConfig(
    3, 3, width=8, multipliers=(1, 2), depth=2, plans=((SPATIAL,), ()), middle_plans=(SPATIAL,), head_dim=4, groups=2
)
CONTROLLED = replace(IMAGE, control=True, frame_channels=4)
LEVEL = torch.full((2,), 0.5)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def build(config: UNetConfig) -> UNet:
    torch.manual_seed(0)
    network = ControlledUNet(config) if config.control else UNet(config)
    torch.nn.init.normal_(network.convolution_out.weight)
    return network


def test_a_new_control_changes_no_bit_whatever_it_sees_and_then_it_steers():
    image, controlled = build(IMAGE), build(CONTROLLED)
    own = dict(controlled.named_parameters())
    with torch.no_grad():
        for name, parameter in image.named_parameters():  # the same names
            own[name].copy_(parameter)
    z, seen = normal(2, 3, 3, 9, 6), normal(2, 3, 4, 9, 6, seed=1)
    plain = image(z, LEVEL, Conditioning())
    assert torch.equal(controlled(z, LEVEL, Conditioning(frames=seen)), plain)
    torch.nn.init.normal_(controlled.control.outputs[0].weight)
    found = controlled(z, LEVEL, Conditioning(frames=seen))
    assert float((found - plain).detach().abs().max()) > 1e-3
    other = controlled(z, LEVEL, Conditioning(frames=seen.index_fill(1, torch.tensor([1]), 0)))
    changed = [t for t in range(3) if not torch.equal(found[:, t], other[:, t])]
    assert changed == [1], "frame by frame"


def test_every_output_of_the_copy_reaches_the_prediction():
    controlled = build(CONTROLLED)
    controlled(normal(2, 1, 3, 8, 8), LEVEL, Conditioning(frames=normal(2, 1, 4, 8, 8))).square().sum().backward()
    assert all(bool(output.weight.grad.any()) for output in controlled.control.outputs)
    assert len(controlled.control.outputs) == 1 + 2 * IMAGE.depth + 1 + 1


def test_operations_are_counted():
    controlled, grid = build(CONTROLLED), (2, 9, 6)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        controlled(normal(1, 2, 3, 9, 6), LEVEL[:1], Conditioning(frames=normal(1, 2, 4, 9, 6)))
    assert controlled.flops(grid) == pytest.approx(counter.get_total_flops(), rel=1e-3)


def test_a_control_begins_as_the_image_model_and_alone_learns():
    image, config = load("text2video-zero-nano"), load("controlvideo-nano")
    networks = [seeded_network(c, autoencoder_of(c.autoencoder, torch.device("cpu"))) for c in (image, config)]
    with torch.no_grad():
        for parameter in networks[0].parameters():
            parameter += 0.1
    old, new = (Side(network, c) for network, c in zip(networks, (image, config), strict=True))
    report = bring(old, new, "image")
    assert not report.missing
    named = dict(networks[1].named_parameters())
    for name, parameter in networks[0].named_parameters():
        assert torch.equal(named[name], parameter)
        copy = name.replace("backbone.", "backbone.control.")
        if copy in named and not name.endswith("convolution_in.weight"):
            assert torch.equal(named[copy], parameter), copy
    first = named["backbone.control.convolution_in.weight"]
    channels = networks[0].backbone.config.in_channels
    assert torch.equal(first[:, :channels], networks[0].backbone.convolution_in.weight)
    assert not first[:, channels:].any()
    assert all(name.startswith("backbone.control.outputs.") for name in report.new)
    learning = learning_names(networks[1], learn_of("control"), report.unlearned)
    assert learning == {name for name in named if name.startswith("backbone.control.")}


def test_control_without_anything_to_see_and_learning_without_control():
    with pytest.raises(UserError, match="given=structure"):
        replace(IMAGE, control=True)
    config = load("text2video-zero-nano")
    network = seeded_network(config, autoencoder_of(config.autoencoder, torch.device("cpu")))
    with pytest.raises(UserError, match=r"backbone\.options\.control=true"):
        learning_names(network, learn_of("control"), ())
