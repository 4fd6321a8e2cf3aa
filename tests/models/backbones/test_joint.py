"""MM-DiT: two streams with their own weights that attend together."""

from dataclasses import replace

import pytest
import torch
from helpers.denoising_oracles import one_thread  # noqa: F401
from torch.utils.flop_counter import FlopCounterMode

from clipmill.curate.errors import UserError
from clipmill.models.adapt.branches import branches_of, put_branches
from clipmill.models.autoencoder_for import autoencoder_of
from clipmill.models.backbones.contract import Conditioning
from clipmill.models.backbones.dit import DiT, DiTConfig
from clipmill.models.backbones.joint import JointDiT
from clipmill.models.backbones.sequence import Part
from clipmill.models.config import load
from clipmill.models.layers.plan import FULL, SPATIAL
from clipmill.models.network import Network, seeded_network
from clipmill.models.settings.learn import learn_of
from clipmill.models.training.objectives.diffusion import DiffusionObjective

JOINT = DiTConfig(
    3, 3, width=24, depth=3, head_dim=8, patch=(1, 2, 2), plans=(FULL,), text="joint", token_dim=5, vector_dim=7
)
VARIANTS = {
    "image": JOINT,
    "video": replace(JOINT, time_positions="rotary", space_positions="rotary", qk_norm=True),
    "stream": replace(JOINT, time_positions="sinusoidal", time_positions_in="stream", vector_dim=0),
}
LEVEL = torch.tensor([0.3, 0.7])


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def build(config: DiTConfig, disturbed: bool = True) -> DiT:
    torch.manual_seed(0)
    network = JointDiT(config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters() if disturbed else ():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network


def told(config: DiTConfig, tokens: torch.Tensor | None = None, mask: torch.Tensor | None = None) -> Conditioning:
    vector = normal(2, config.vector_dim, seed=4) if config.vector_dim else None
    return Conditioning(vector, normal(2, 6, 5, seed=5) if tokens is None else tokens, mask)


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_a_new_block_is_the_identity_and_a_new_network_zero(config: DiTConfig):
    model, seen = build(config, disturbed=False), []
    for block in model.blocks:
        block.register_forward_hook(lambda _, given, found: seen.append(torch.equal(given[0], found)))
    assert not model(normal(2, 3, 3, 6, 4), LEVEL, told(config)).any()
    assert seen == [True] * 3


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_padding_of_the_text_changes_nothing(config: DiTConfig):
    model, z, tokens = build(config), normal(2, 3, 3, 6, 4), normal(2, 6, 5, seed=5)
    plain = model(z, LEVEL, told(config, tokens))
    padded = torch.cat([tokens, normal(2, 3, 5, seed=6)], dim=1)
    mask = torch.arange(9).expand(2, -1) < 6
    torch.testing.assert_close(model(z, LEVEL, told(config, padded, mask)), plain, rtol=0, atol=1e-5)
    none = model(z, LEVEL, told(config, padded, torch.zeros_like(mask)))
    other = model(z, LEVEL, told(config, 2 * padded, torch.zeros_like(mask)))
    assert bool(torch.isfinite(none).all())
    torch.testing.assert_close(none, other, rtol=0, atol=1e-5)
    assert float((none - plain).detach().abs().max()) > 1e-3, "the text is heard"


def test_each_stream_has_its_own_weights():
    """And what text has of its own reaches the pixels by its keys and values alone: nothing reads the last text."""
    model = build(JOINT)
    block = model.blocks[0]
    own = dict(block.named_parameters())
    text, pixels = ({n.partition(".")[2]: p for n, p in own.items() if n.startswith(s)} for s in ("text.", "pixels."))
    assert text.keys() == pixels.keys()
    assert {p.data_ptr() for p in text.values()}.isdisjoint(p.data_ptr() for p in pixels.values())
    model(normal(2, 2, 3, 4, 4), LEVEL, told(JOINT)).square().sum().backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    # Softmax does not see what is added to all scores of a query.
    assert [name for name in silent if "key" not in name and "norm" not in name] == []
    last = dict(model.blocks[-1].text.named_parameters())
    assert not any(name.startswith(("output", "feed_forward")) for name in last)


def test_the_order_of_words_is_theirs_and_pixels_know_their_places():
    model, z, tokens = build(JOINT), normal(2, 1, 3, 6, 4), normal(2, 6, 5, seed=5)
    turned = model(z, LEVEL, told(JOINT, tokens.flip(1)))
    torch.testing.assert_close(turned, model(z, LEVEL, told(JOINT, tokens)), rtol=0, atol=1e-5)
    assert not torch.allclose(model(z.flip(4), LEVEL, told(JOINT)).flip(4), model(z, LEVEL, told(JOINT)), atol=1e-3)


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_operations_are_counted(config: DiTConfig):
    model, grid = build(config), (3, 6, 4)
    one = told(config).map(lambda tensor: tensor[:1])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(normal(1, 3, 3, 6, 4), LEVEL[:1], one)
    assert model.flops(grid, 6) == pytest.approx(counter.get_total_flops(), rel=1e-3)


def test_the_full_size_has_the_published_number_of_weights():
    """2,028,328,000 of Stable Diffusion 3 medium, which has a vector of 2,048 numbers where this one has 4,096."""
    config = load("mm-dit", ["conditioning.text.encoder=hash", "conditioning.text.dim=4096"])
    with torch.device("meta"):
        network = Network(config, 16)
    assert sum(p.numel() for p in network.parameters()) / 1e9 == pytest.approx(2.028, rel=0.01)


def test_branches_stand_beside_the_projections_of_both_streams():
    model = build(JOINT)
    plain = model(normal(2, 1, 3, 4, 4), LEVEL, told(JOINT))
    put_branches(model, learn_of("lora:2"))
    assert len(branches_of(model)) == 3 * 2 * 2 - 1, "text has no output in the last block"
    assert torch.equal(model(normal(2, 1, 3, 4, 4), LEVEL, told(JOINT)), plain)


def test_a_sample_without_a_vector_has_that_of_its_text():
    model, z = build(JOINT), normal(2, 1, 3, 4, 4)
    zeros = replace(told(JOINT), vector=torch.zeros(2, 7))
    assert torch.equal(model(z, LEVEL, replace(zeros, vector=None)), model(z, LEVEL, zeros))


def test_joint_text_needs_full_attention_and_takes_no_packed_steps():
    with pytest.raises(UserError, match="full attention in every block"):
        replace(JOINT, plans=(SPATIAL,))
    with pytest.raises(UserError, match=r"data\.packed=false"):
        build(JOINT).forward_packed([Part(normal(2, 1, 3, 4, 4), LEVEL, told(JOINT))])
    config, cpu = load("mm-dit-nano", ["data.packed=true", "data.tokens=512"]), torch.device("cpu")
    autoencoder = autoencoder_of(config.autoencoder, cpu)
    with pytest.raises(UserError, match=r"data\.packed=false"):
        DiffusionObjective(config, seeded_network(config, autoencoder), autoencoder, cpu)
