"""Convolutions, norms, embeddings, resampling and temporal blocks: exact starts, and what may not reach what."""

import math

import pytest
import torch
import torch.nn.functional as F

from clipmill.curate.errors import UserError
from clipmill.models.layers.convolution import (
    CausalConvolution,
    FactorisedConvolution,
    PseudoConvolution,
    SpaceConvolution,
    TimeConvolution,
    channels_last,
)
from clipmill.models.layers.embeddings import (
    MicroConditioning,
    NoiseLevelEmbedding,
    TimeEmbedding,
    sinusoids,
    space_embedding,
)
from clipmill.models.layers.feed_forward import FeedForward
from clipmill.models.layers.norms import FixedModulation, FrameGroupNorm, Modulation, modulated_layer_norm
from clipmill.models.layers.plan import TEMPORAL
from clipmill.models.layers.resampling import SpaceDownsample, SpaceUpsample, TimeDownsample, TimeUpsample
from clipmill.models.layers.temporal import LayerInputs, Mixer, TemporalBlock, TemporalConvolutions, TemporalTransformer

torch.set_num_threads(1)
MIXERS = ["zero", "dirac", "alpha", "alpha_images"]
EMBEDDING_DIM = 6


def video(frames=5, channels=8, height=4, width=6, seed=0):
    return torch.randn(2, frames, channels, height, width, generator=torch.Generator().manual_seed(seed))


def inputs(**given):
    return LayerInputs(torch.randn(2, EMBEDDING_DIM, generator=torch.Generator().manual_seed(9)), **given)


def disturb(module):
    """Numbers everywhere, also where layers start at zero."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return module


# Convolutions


def test_convolution_along_time_is_the_3d_one_with_a_narrow_kernel():
    layer, x = TimeConvolution(8, 3), video()
    expected = F.conv3d(x.transpose(1, 2), layer.weight[..., None], layer.bias, padding=(1, 0, 0)).transpose(1, 2)
    for arranged in (x, channels_last(x)):
        torch.testing.assert_close(layer(arranged), expected, rtol=0, atol=1e-6)


def test_convolution_in_space_does_not_mix_frames_and_rounds_sizes_up():
    layer, x = SpaceConvolution(8, 3, stride=2), video(height=5, width=7)
    assert layer(x).shape == (2, 5, 3, 3, 4)
    torch.testing.assert_close(layer(x)[:, 2:3], layer(x[:, 2:3]), rtol=0, atol=1e-6)


def test_pseudo_convolution_starts_bit_by_bit_as_the_image_convolution():
    layer, x = PseudoConvolution(8, 5), video()
    assert torch.equal(layer(x), layer.space(x))
    disturb(layer)
    assert (layer(x) - layer.space(x)).abs().max() > 0.1


def test_independent_frames_neither_change_others_nor_are_changed_along_time():
    layer, x = disturb(PseudoConvolution(8, 5)), video()
    alone = torch.tensor([[False, False, False, True, True]] * 2)
    found = layer(x, alone)
    torch.testing.assert_close(found[:, :3], layer(x[:, :3]), rtol=0, atol=1e-6)
    assert torch.equal(found[:, 3:], layer.space(x)[:, 3:])


def test_factorised_convolution_has_something_between_space_and_time():
    layer, x = FactorisedConvolution(8, 5), video()
    assert layer(x).shape == (2, 5, 5, 4, 6)
    assert (
        (layer(2 * x) - layer.time.bias.view(-1, 1, 1)) - 2 * (layer(x) - layer.time.bias.view(-1, 1, 1))
    ).abs().max() > 1e-3


@pytest.mark.parametrize(("time_kernel", "time_stride"), [(3, 1), (3, 2), (4, 2), (1, 1)])
def test_causal_convolution_sees_no_later_frame_bit_by_bit(time_kernel, time_stride):
    layer, x = CausalConvolution(8, 4, time_kernel=time_kernel, time_stride=time_stride), video(frames=7)
    changed = x.clone()
    changed[:, 4:] += 1
    before = (4 + time_stride - 1) // time_stride
    assert layer(x).shape[1] == math.ceil(7 / time_stride)
    assert torch.equal(layer(x)[:, :before], layer(changed)[:, :before])
    assert not torch.equal(layer(x)[:, before:], layer(changed)[:, before:])


@pytest.mark.parametrize("time_stride", [1, 2])
@pytest.mark.parametrize("cuts", [(1, 3, 4), (4, 4), (1, 2, 2, 3), (8,)])
def test_chunks_of_a_causal_convolution_join_to_the_whole(time_stride, cuts):
    layer, x = CausalConvolution(8, 4, time_stride=time_stride), video(frames=8)
    past, parts = None, []
    for chunk in x.split(cuts, dim=1):
        part, past = layer.chunk(chunk, past)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, dim=1), layer(x), rtol=0, atol=1e-6)


def test_a_chunk_too_short_for_any_output_is_refused():
    layer = CausalConvolution(8, 4, time_stride=2)
    _, past = layer.chunk(video(frames=1), None)
    with pytest.raises(UserError, match="1 frames"):
        layer.chunk(video(frames=1), past)


def test_an_image_is_a_video_of_one_frame_to_a_causal_convolution():
    layer, x = CausalConvolution(8, 4), video()
    torch.testing.assert_close(layer(x[:, :1]), layer(x)[:, :1], rtol=0, atol=1e-6)
    still = x[:, :1].expand(-1, 5, -1, -1, -1)
    torch.testing.assert_close(layer(still), layer(x[:, :1]).expand(-1, 5, -1, -1, -1), rtol=0, atol=1e-6)


def test_even_kernels_are_refused():
    with pytest.raises(UserError, match="odd kernel"):
        SpaceConvolution(4, 4, kernel=2)


# Norms


def test_group_norm_takes_its_statistics_from_one_frame():
    norm, x = disturb(FrameGroupNorm(8, 4)), video()
    expected = torch.stack([F.group_norm(x[:, t], 4, norm.weight, norm.bias, norm.eps) for t in range(5)], dim=1)
    torch.testing.assert_close(norm(channels_last(x)), expected, rtol=0, atol=1e-5)
    louder = x.clone()
    louder[:, 2] *= 50
    assert torch.equal(norm(louder)[:, 1], norm(x)[:, 1])


@pytest.mark.parametrize(("channels", "groups"), [(8, 8), (48, 24), (35, 7), (320, 32)])
def test_group_norm_takes_the_largest_number_of_groups_that_fits(channels, groups):
    assert FrameGroupNorm(channels).num_groups == groups


def test_modulation_starts_as_a_plain_norm_with_closed_gates():
    shift, scale, gate = Modulation(EMBEDDING_DIM, 8, 3)(torch.randn(2, EMBEDDING_DIM))
    x = video().permute(0, 1, 3, 4, 2)
    torch.testing.assert_close(modulated_layer_norm(x, shift, scale), F.layer_norm(x, (8,), eps=1e-6))
    assert gate.shape == (2, 1, 1, 1, 8)
    assert not gate.any()
    shift, scale = torch.randn(2, 1, 1, 1, 8), torch.randn(2, 1, 1, 1, 8)
    expected = F.layer_norm(x, (8,), eps=1e-6) * (1 + scale) + shift
    torch.testing.assert_close(modulated_layer_norm(x, shift, scale), expected)


def test_a_fixed_modulation_is_that_of_a_layer_norm_with_weights():
    """Open gates, and the same for every sample."""
    modulation, norm, x = FixedModulation(8, 6), torch.nn.LayerNorm(8, 1e-6), torch.randn(3, 1, 2, 2, 8)
    with torch.no_grad():
        modulation.shift_scale.normal_(generator=torch.Generator().manual_seed(1))
        norm.bias.copy_(modulation.shift_scale[:8])
        norm.weight.copy_(1 + modulation.shift_scale[8:16])
    shift, scale, gate, _, _, gate_out = modulation(torch.randn(3, 2, 8))
    torch.testing.assert_close(modulated_layer_norm(x, shift, scale), norm(x), rtol=0, atol=1e-6)
    assert bool((gate == 1).all() and (gate_out == 1).all())
    assert shift.shape == (3, 1, 1, 1, 8)
    assert len(FixedModulation(8, 2)(torch.randn(3, 8))) == 2


# Embeddings


def test_sinusoids_tell_near_and_far_values_apart_and_have_unit_scale():
    found = sinusoids(torch.arange(64.0), 32)
    assert found.square().mean(1).sqrt().sub(0.5**0.5).abs().max() < 1e-6
    distances = torch.cdist(found, found)
    assert (distances + 9 * torch.eye(64)).min() > 0.5
    assert (distances[0, 1:4].diff() > 0).all()
    torch.testing.assert_close(found[3, 0], torch.tensor(math.cos(3.0)))
    torch.testing.assert_close(found[3, 16], torch.tensor(math.sin(3.0)))


def test_noise_levels_of_order_one_are_told_apart():
    embed = NoiseLevelEmbedding(16)
    levels = embed(torch.tensor([0.1, 0.101, 0.9]))
    assert (levels[0] - levels[1]).norm() > 1e-4
    assert embed(torch.tensor([0.5], dtype=torch.float64)).dtype == torch.float32


@pytest.mark.parametrize(("kind", "size"), [("sinusoidal", 0.707), ("unit", 0.7), ("learned", 0.02)])
def test_time_embeddings_have_the_size_they_promise(kind, size):
    found = TimeEmbedding(256, kind)(32, torch.device("cpu"))
    assert found.square().mean().sqrt().item() == pytest.approx(size, rel=0.05)
    assert found.shape == (32, 256)


def test_clips_longer_than_the_table_are_refused():
    with pytest.raises(UserError, match="9"):
        TimeEmbedding(8, "unit", max_frames=8)(9, torch.device("cpu"))


def test_space_embedding_tells_rows_from_columns():
    found = space_embedding(3, 5, 16, torch.device("cpu"))
    assert torch.equal(found[2, 1, :8], found[2, 4, :8])
    assert torch.equal(found[1, 3, 8:], found[2, 3, 8:])
    assert torch.pdist(found.flatten(0, 1)).min() > 0.1


def test_micro_conditioning_keeps_numbers_apart():
    embed = MicroConditioning(2, 16)
    found = embed(torch.tensor([[8.0, 24.0], [24.0, 8.0]]))
    assert torch.equal(found[0, :16], found[1, 16:])
    assert not torch.equal(found[0], found[1])
    with pytest.raises(UserError, match="\\[B, 2\\]"):
        embed(torch.zeros(2, 3))


# Resampling


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 1)])
def test_space_comes_back_to_its_size(size):
    x = video(height=size[0], width=size[1])
    small = SpaceDownsample(8)(x)
    assert small.shape[3:] == (math.ceil(size[0] / 2), math.ceil(size[1] / 2))
    assert SpaceUpsample(8)(small, *size).shape == x.shape


@pytest.mark.parametrize("frames", [1, 4, 5])
def test_time_resampling_starts_as_nearest_frames_and_keeps_still_clips(frames):
    x = video(frames)
    down, up = TimeDownsample(8), TimeUpsample(8)
    assert torch.equal(down(x), x[:, ::2])
    assert torch.equal(up(down(x), frames), x[:, [t // 2 * 2 for t in range(frames)]])
    still = x[:, :1].expand(-1, frames, -1, -1, -1)
    assert torch.equal(up(down(still), frames), still)


# Temporal blocks


def temporal_layers(kind, **options):
    if kind == "convolutions":
        return TemporalConvolutions(8, EMBEDDING_DIM, groups=4)
    return TemporalTransformer(8, 4, TEMPORAL, options.pop("positions", "sinusoidal"), **options)


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("kind", ["convolutions", "transformer"])
def test_a_temporal_block_starts_bit_by_bit_as_nothing(mixer, kind):
    block, x = TemporalBlock(temporal_layers(kind), mixer), video()
    assert torch.equal(block(x, inputs()), x)
    assert not torch.equal(disturb(block)(x, inputs()), x)


@pytest.mark.parametrize("kind", ["convolutions", "transformer"])
def test_temporal_layers_do_not_mix_pixels(kind):
    block, x = disturb(TemporalBlock(temporal_layers(kind), "zero")), video(channels=8)
    changed = x.clone()
    changed[:, 1, :, 2, 3] += 1
    reached = (block(x, inputs()) != block(changed, inputs())).any(2)
    assert reached[:, :, 2, 3].any(1).all()
    if kind == "transformer":
        reached[:, :, 2, 3] = False
        assert not reached.any()
    else:
        # A group norm sees its own frame; convolutions carry that one frame on each side per layer.
        assert not reached[:, 4].any()


@pytest.mark.parametrize("kind", ["convolutions", "transformer"])
def test_alpha_mixes_image_and_temporal_features_as_defined(kind):
    layers, x = disturb(temporal_layers(kind)), video()
    block = TemporalBlock(layers, "alpha")
    with torch.no_grad():
        block.mixer.logit.fill_(0.8)
    a = torch.sigmoid(torch.tensor(0.8))
    expected = a * x + (1 - a) * (x + layers(x, inputs()))
    torch.testing.assert_close(block(x, inputs()), expected, rtol=0, atol=1e-5)
    with torch.no_grad():
        block.mixer.logit.fill_(200.0)
    assert torch.equal(block(x, inputs()), x)


def test_the_image_switch_passes_images_through_and_mixes_clips():
    block, x = disturb(TemporalBlock(temporal_layers("transformer"), "alpha_images")), video()
    alone = torch.tensor([[True] * 5, [False] * 5])
    found = block(x, inputs(independent=alone))
    assert torch.equal(found[0], x[0])
    torch.testing.assert_close(found[1], block(x, inputs())[1], rtol=0, atol=1e-6)
    assert not torch.equal(found[1], x[1])
    assert torch.equal(block(x[:, :1], inputs()), x[:, :1])


@pytest.mark.parametrize("kind", ["convolutions", "transformer"])
def test_appended_images_leave_a_clip_as_it_is(kind):
    block, x = disturb(TemporalBlock(temporal_layers(kind), "zero")), video()
    alone = torch.tensor([[False, False, False, True, True]] * 2)
    found = block(x, inputs(independent=alone))[:, :3]
    torch.testing.assert_close(found, block(x[:, :3], inputs())[:, :3], rtol=0, atol=1e-5)


def test_positions_are_read_and_not_passed_on():
    layers = temporal_layers("transformer")
    x = torch.zeros(2, 5, 8, 4, 6)
    assert not layers(x, inputs()).any()
    found = disturb(layers)(x, inputs())
    assert (found[:, 0] - found[:, 3]).abs().max() > 1e-2


def test_the_mixing_weight_learns_once_the_layers_do():
    block, x = TemporalBlock(temporal_layers("transformer"), "alpha"), video()
    optimiser = torch.optim.SGD(block.parameters(), lr=0.1)
    for _ in range(2):
        optimiser.zero_grad()
        (block(x, inputs()) - x.roll(1, dims=1)).square().mean().backward()
        optimiser.step()
    assert block.mixer.logit.item() != 0
    assert all(parameter.grad.any() for parameter in block.parameters())


def test_mixers_without_a_weight_have_no_parameters():
    assert [len(list(Mixer(kind).parameters())) for kind in MIXERS] == [0, 0, 1, 1]


@pytest.mark.parametrize("activation", ["gelu", "geglu"])
def test_feed_forward_starts_at_zero_when_asked(activation):
    x = torch.randn(3, 8)
    assert not FeedForward(8, activation=activation, zero_output=True)(x).any()
    assert FeedForward(8, activation=activation)(x).abs().max() > 1e-3
