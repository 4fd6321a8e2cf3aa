"""What the options of a DiT make of it: Latte's variants, GenTron's attention along time, W.A.L.T.'s shared modulation,
U-ViT's tokens and skips.
"""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from helpers.denoising_oracles import one_thread  # noqa: F401

from clipmill.curate.errors import UserError
from clipmill.models.adapt.along_time import temporal_names
from clipmill.models.backbones.contract import Conditioning
from clipmill.models.backbones.dit import DiT, DiTConfig
from clipmill.models.layers.plan import FULL, SPATIAL, TEMPORAL
from clipmill.models.layers.split_heads import SplitHeads

IMAGE = DiTConfig(in_channels=3, out_channels=3, width=24, depth=2, head_dim=12, patch=(1, 2, 2), plans=(SPATIAL,))
WITHIN = {kind: replace(IMAGE, along_time=kind) for kind in ("modulated", "zero", "heads")}
UVIT = replace(
    IMAGE,
    depth=5,
    plans=(FULL,),
    told="tokens",
    long_skips=True,
    final_convolution=True,
    space_positions="learned",
    space_sides=(3, 3),
    vector_dim=4,
)


def build(config, seed=0):
    torch.manual_seed(seed)
    return DiT(config)


def disturb(model, keep=()):
    """Numbers everywhere but in the parameters whose names hold one of `keep`."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not any(part in name for part in keep):
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def video(frames=3, seed=1):
    return torch.randn(2, frames, 3, 6, 6, generator=torch.Generator().manual_seed(seed))


LEVELS = torch.tensor([0.2, 0.8])


def run(model, z, **conditions):
    with torch.no_grad():
        return model(z, LEVELS, Conditioning(**conditions))


# Latte


def test_late_fusion_hears_of_other_frames_in_the_second_half_alone():
    model, z, heard = disturb(build(replace(IMAGE, depth=6, plans=(SPATIAL, TEMPORAL), plans_in="rows"))), video(), []
    assert [plan.reach for plan in model.plans] == ["spatial"] * 3 + ["temporal"] * 3
    for block in model.blocks:
        block.register_forward_hook(lambda _, given, found: heard.append(found[:, 0]))
    other = z.clone()
    other[:, 1:] += 1
    run(model, z)
    run(model, other)
    assert [not torch.equal(*pair) for pair in zip(heard[:6], heard[6:], strict=True)] == [False] * 3 + [True] * 3


@pytest.mark.parametrize(("kind", "closed"), [("modulated", "time_attention.modulation"), ("zero", "attention.output")])
def test_attention_along_time_within_blocks_begins_as_the_image_model_bit_by_bit(kind, closed):
    shut = f"time_attention.{closed.removeprefix('time_attention.')}"
    model = disturb(build(WITHIN[kind]), keep=(shut,))
    twin = build(IMAGE, seed=5)
    twin.load_state_dict({name: t for name, t in model.state_dict().items() if name in twin.state_dict()})
    z = video()
    found = run(model, z)
    assert found.abs().max() > 0.1
    assert torch.equal(found, run(twin, z))
    assert (run(disturb(model), z) - found).abs().max() > 1e-3


def test_half_of_the_heads_sees_the_frame_and_half_the_pixel():
    torch.manual_seed(0)
    layer, x = SplitHeads(24, 12, SPATIAL), torch.randn(1, 3, 2, 2, 24)
    moved = [x.clone(), x.clone()]
    moved[0][:, 1, 0, 0] += 1  # another frame, the same pixel
    moved[1][:, 0, 1, 1] += 1  # the same frame, another pixel
    for part, hears in ((layer.space, [False, True]), (layer.time, [True, False])):
        assert [not torch.equal(part(x)[0, 0, 0, 0], part(other)[0, 0, 0, 0]) for other in moved] == hears
    torch.testing.assert_close(layer(x), layer.space(x) + layer.time(x))
    with pytest.raises(UserError, match="set a head_dim for an even number"):
        SplitHeads(24, 8, SPATIAL)


@pytest.mark.parametrize(("plans_in", "where"), [("turns", "branch"), ("rows", "stream")])
def test_images_pass_by_the_blocks_along_time(plans_in, where):
    """Whatever those say, an image is what the blocks within frames make of it, and a clip is what it was."""
    config = replace(IMAGE, depth=4, plans=(SPATIAL, TEMPORAL), plans_in=plans_in, time_positions_in=where)
    config = replace(config, images_skip_time=True)
    model, z = disturb(build(config)), video(frames=5)
    behind = torch.tensor([[False, False, False, True, True]] * 2)
    found = run(model, z, independent=behind)
    twin = build(IMAGE, seed=5)
    kept = [k for k, plan in enumerate(model.plans) if plan.mixes_pixels]
    renamed = {f"blocks.{k}.": f"blocks.{n}." for n, k in enumerate(kept)}
    state = {
        name.replace(old, new): t
        for name, t in model.state_dict().items()
        for old, new in renamed.items()
        if old in name
    }
    others = {name: t for name, t in model.state_dict().items() if not name.startswith("blocks.")}
    twin.load_state_dict(state | {name: t for name, t in others.items() if name in twin.state_dict()})
    torch.testing.assert_close(found[:, 3:], run(twin, z)[:, 3:], rtol=0, atol=1e-6)
    torch.testing.assert_close(found[:, :3], run(model, z[:, :3]), rtol=0, atol=1e-5)
    through = build(replace(config, images_skip_time=False))
    through.load_state_dict(model.state_dict())
    assert (run(through, z, independent=behind)[:, 3:] - found[:, 3:]).abs().max() > 1e-3


# GenTron


def test_without_motion_a_frame_is_an_image_alone():
    """The mask along time is the identity."""
    model, z = disturb(build(WITHIN["zero"])), video()
    still = run(model, z, independent=torch.ones(2, 3, dtype=torch.bool))
    images = [run(model, z[:, t : t + 1], independent=torch.ones(2, 1, dtype=torch.bool)) for t in range(3)]
    torch.testing.assert_close(still, torch.cat(images, dim=1), rtol=0, atol=1e-6)
    assert (run(model, z) - still).abs().max() > 1e-2


def test_attention_along_time_stands_behind_text_and_before_the_mlp():
    model = build(replace(WITHIN["zero"], text="cross", token_dim=5))
    order = []
    for name, layer in model.blocks[0].named_children():
        layer.register_forward_hook(lambda *_, name=name: order.append(name))
    run(model, video(), tokens=torch.randn(2, 4, 5))
    parts = ("attention", "cross", "time_attention", "feed_forward")
    assert [name for name in order if name in parts] == list(parts)


@pytest.mark.parametrize(("kind", "part"), [("zero", "time_attention."), ("heads", "attention.time.")])
def test_what_lies_along_time_within_blocks_can_learn_alone(kind, part):
    model = build(WITHIN[kind])
    owners = {name.split(".", 2)[2] for name in temporal_names(model) if name.startswith("blocks.")}
    assert owners
    assert all(name.startswith(part) for name in owners)


# W.A.L.T.


def test_blocks_share_their_modulation_up_to_a_low_rank():
    config = replace(IMAGE, modulation_rank=2)
    model, told = disturb(build(config)), torch.randn(40, 24, generator=torch.Generator().manual_seed(2))
    shared = model.shared_modulation.linear(told)
    for block in model.blocks:
        own = torch.cat(block.modulation(told, shared), dim=-1)[:, 0, 0, 0] - shared
        assert int(torch.linalg.matrix_rank(own - own.mean(0), tol=1e-4)) == 2
    plain, low = (sum(p.numel() for p in build(c).blocks.parameters()) for c in (IMAGE, config))
    assert plain - low == 2 * (24 * 144 - 2 * 24 - 2 * 144)
    calls = []
    model.shared_modulation.linear.register_forward_hook(lambda *_: calls.append(1))
    run(model, video())
    assert calls == [1]


# U-ViT


def test_each_of_the_first_blocks_reaches_its_own_of_the_last_ones():
    model, made, read, joined = disturb(build(UVIT)), [], [], []
    for block in model.blocks:
        block.register_forward_hook(lambda _, given, found: read.append(given[0]))
        block.register_forward_hook(lambda _, given, found: made.append(found))
    for join in model.skips.joins:
        join.register_forward_hook(lambda _, given, found: joined.append((given[0], found)))
    run(model, video(), vector=torch.randn(2, 4))
    assert len(joined) == 2
    for number, (pair, found) in enumerate(joined):
        assert torch.equal(pair, torch.cat([made[2 + number], made[1 - number]], dim=-1))
        assert torch.equal(read[3 + number], found)


def test_noise_level_and_class_are_tokens_and_nothing_else():
    model, z, rows = disturb(build(UVIT)), video(), []
    model.blocks[0].register_forward_hook(lambda _, given, found: rows.append(given[0].shape))
    vector = torch.randn(2, 4)
    found = run(model, z, vector=vector)
    assert rows == [(2, 1, 1, 2 + 3 * 3 * 3, 24)]
    assert (run(model, z, vector=vector + 1) - found).abs().max() > 1e-4
    assert (model(z, LEVELS + 0.1, Conditioning(vector=vector)) - found).abs().max() > 1e-4
    silent = torch.zeros(2, 2, 24)
    model.embedding.register_forward_hook(lambda *_: silent)
    assert torch.equal(run(model, z, vector=vector), model(z, LEVELS + 0.1, Conditioning(vector=vector + 1)))


def test_patches_are_told_apart_by_learned_places_alone():
    """A video of one patch over and over: what comes out differs by places, and by nothing where these are alike."""
    model = disturb(build(replace(UVIT, final_convolution=False, time_positions="none")))
    z = video()[:, :1, :, :2, :2].repeat(1, 2, 1, 3, 3)
    patches = run(model, z).unflatten(4, (3, 2)).unflatten(3, (3, 2))
    assert (patches - patches[:, :1, :, :1, :, :1]).abs().max() > 1e-3
    with torch.no_grad():
        model.space_table.table[:] = model.space_table.table[:1, :1].clone()
    patches = run(model, z).unflatten(4, (3, 2)).unflatten(3, (3, 2))
    torch.testing.assert_close(patches, patches[:, :1, :, :1, :, :1].expand_as(patches), rtol=0, atol=1e-5)


def test_the_last_convolution_smooths_frames_by_themselves():
    model, z = disturb(build(UVIT)), video()
    with torch.no_grad():
        model.convolution_out.weight.zero_()
        model.convolution_out.weight[range(3), range(3)] = 1 / 9
        model.convolution_out.bias.zero_()
    smooth = run(model, z)
    convolution, model.convolution_out = model.convolution_out, None
    plain = run(model, z)
    expected = F.avg_pool2d(plain.flatten(0, 1), 3, 1, 1).unflatten(0, (2, 3))
    torch.testing.assert_close(smooth, expected, rtol=0, atol=1e-6)
    assert convolution.weight.shape == (3, 3, 3, 3)


# Mistakes, and what stays as it was


def test_new_options_leave_a_dit_as_it_was():
    """Names, order and first values of its parameters; a checksum of before these options."""
    model = build(DiTConfig(width=24, depth=2, head_dim=8))
    names = [name for name, _ in model.named_parameters()]
    assert [n for n in names if n.startswith("blocks.0.")] == [
        f"blocks.0.{part}.{kind}"
        for part in (
            "modulation.linear",
            "attention.query_key_value",
            "attention.output",
            "feed_forward.inner",
            "feed_forward.output",
        )
        for kind in ("weight", "bias")
    ]
    assert names[-4:] == [
        f"{part}.{kind}" for part in ("final_modulation.linear", "patches_out") for kind in ("weight", "bias")
    ]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"depth": 4, "long_skips": True}, "an odd number of blocks"),
        ({"told": "tokens"}, "told by tokens need full attention"),
        ({"plans": (FULL,), "told": "tokens", "modulation_rank": 2}, "modulation_rank=0"),
        ({"plans": (FULL,), "told": "tokens", "text": "cross", "token_dim": 4}, "text to 'in_context'"),
        ({"plans": (FULL,), "along_time": "zero", "text": "in_context", "token_dim": 4}, "set plans to full"),
        ({"space_sides": (3,)}, "two space_sides"),
        ({"head_dim": 8, "along_time": "heads"}, "even number"),
    ],
)
def test_options_that_contradict_one_another_are_one_line(options, says):
    with pytest.raises(UserError, match=says):
        DiT(replace(IMAGE, **options))


def test_a_larger_frame_than_learned_places_is_one_line():
    with pytest.raises(UserError, match=r"3 x 3 patches, the picture has 4 x 4.*space_sides"):
        run(build(UVIT), torch.randn(2, 1, 3, 8, 8))
