"""What learns and what stays: low-rank branches, queries, layers along time."""

import pytest
import torch
from helpers.sides import CHANNELS, FRAMES, predicted, side, trained

from clipmill.curate.errors import UserError
from clipmill.models.adapt.along_time import temporal_names
from clipmill.models.adapt.branches import BRANCHES, is_branch, plain_tensors
from clipmill.models.adapt.bringing import bring
from clipmill.models.adapt.what_learns import freeze, learning_names
from clipmill.models.backbones.sequence import Part
from clipmill.models.settings.learn import learn_of
from clipmill.models.training.optimiser import make_optimisers

DIT = ("backbone.options.depth=4", "backbone.options.text=cross", "conditioning.text.encoder=hash")
PRESETS = {"dit": ("latte-nano", (*DIT, "conditioning.text.dim=16")), "unet": ("video-ldm-nano", ())}
LEARN = ("temporal", "query+temporal", "lora:2", "lora:3:temporal")


def adapted(kind: str, learn: str):
    """The same weights as `plain(kind)`, with branches."""
    preset, options = PRESETS[kind]
    made = side(preset, *options, "train.init=x", f"train.learn={learn}")
    plain = trained(side(preset, *options))
    for name, parameter in made.network.named_parameters():
        if not is_branch(name):
            parameter.data.copy_(plain.network.get_parameter(name))
    for module in made.network.modules():
        if hasattr(module, "begin"):
            module.begin()
    return made, plain


@pytest.mark.parametrize("kind", PRESETS)
@pytest.mark.parametrize("learn", LEARN)
def test_only_what_is_to_learn_moves_and_merged_it_does_the_same(kind: str, learn: str):
    made, plain = adapted(kind, learn)
    assert torch.equal(predicted(made), predicted(plain)), "branches are nothing at first, bit by bit"
    network = made.network
    freeze(network, learning_names(network, learn_of(learn), set()))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    config = made.config.train.__class__(learning_rate=1e-2, weight_decay=0.5)
    optimisers = make_optimisers(list(network.named_parameters()), config)
    for _ in range(2):
        predicted(made, grad=True).square().mean().backward()
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
    moved = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    along_time = temporal_names(network)
    branches = {name for name in before if is_branch(name)}
    if learn.startswith("lora"):
        assert moved == branches
        assert {name.rpartition(".")[2] for name in moved} == set(BRANCHES[:2])
        assert (learn == "lora:2") == any(name.rpartition(".")[0] + ".weight" not in along_time for name in moved)
    elif learn == "temporal":
        assert moved == along_time
    else:
        assert moved - along_time - branches == {name for name in before if ".cross.query." in name} - along_time
        assert along_time | branches <= moved
    assert not torch.equal(predicted(made), predicted(plain))
    merged = plain_tensors(network)
    assert merged.keys() == dict(plain.network.named_parameters()).keys()
    plain.network.load_state_dict(plain.network.state_dict() | merged)
    torch.testing.assert_close(predicted(plain), predicted(made), rtol=0, atol=1e-5)
    preset, options = PRESETS[kind]
    begun = side(preset, *options, "train.init=x", "train.learn=lora:1", seed=9)
    assert not bring(made, begun, "old").missing, "what begins with branches begins with them merged"
    assert torch.equal(predicted(begun), predicted(plain))


def test_videos_in_one_sequence_go_through_the_branches_too():
    made, _ = adapted("dit", "lora:2")
    trained(made)
    z, levels = torch.randn(2, FRAMES, CHANNELS, 8, 8), torch.tensor([0.3, 0.6])
    conditioner, backbone = made.network.conditioner, made.network.backbone
    conditioning = conditioner(conditioner.conditions(["a", "b"], {}, [None, None]))
    with torch.no_grad():
        expected = backbone(z, levels, conditioning)
        parts = [Part(z[k : k + 1], levels[k : k + 1], conditioning.map(lambda t, k=k: t[k : k + 1])) for k in range(2)]
        packed = torch.cat(backbone.forward_packed(parts))
    torch.testing.assert_close(packed, expected, rtol=0, atol=1e-5)


def test_branches_change_no_weight_that_is_drawn():
    plain, made = side("latte-nano"), side("latte-nano", "train.init=x", "train.learn=lora:2")
    assert all(torch.equal(t, made.network.state_dict()[name]) for name, t in plain.network.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "learn", "says"),
    [
        (("backbone.options.plans=['spatial']",), "temporal", "no layers along time"),
        (("backbone.options.plans=['full']",), "query+temporal", "no layers along time"),
        (("backbone.options.plans=['full']",), "lora:2:temporal", "no attention along time"),
        ((), "lora:33", "a rank of 33 is more than"),
    ],
)
def test_nothing_that_learns_is_one_line(settings: tuple[str, ...], learn: str, says: str):
    def learning() -> set[str]:
        made = side("latte-nano", *settings, "train.init=x", f"train.learn={learn}")
        return learning_names(made.network, learn_of(learn), set())

    with pytest.raises(UserError, match=says):
        learning()


def test_branches_beside_what_nothing_has_trained_are_one_line():
    made = side("latte-nano", "train.init=x", "train.learn=lora:2")
    with pytest.raises(UserError, match=r"2 tensors are not in train[.]init, such as a: train them first"):
        learning_names(made.network, learn_of("lora:2"), {"b", "a"})


@pytest.mark.parametrize("text", ["lora", "lora:0", "lora:-1", "lora:8:time", "lora:1e3", "none", "", "lora:9999999"])
def test_what_learns_has_few_names(text: str):
    with pytest.raises(ValueError, match="learn is all, temporal"):
        learn_of(text)
