"""U-Net and DiT: what they are at the start, what must not mix, images and clips, sizes, gradients, and the count of
operations.
"""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from clipmill.curate.errors import UserError
from clipmill.models.backbones.contract import Conditioning, training_flops
from clipmill.models.backbones.dit import BlockInputs, DiT, DiTConfig, with_text
from clipmill.models.backbones.patches import patch_grid, patchify, unpatchify
from clipmill.models.backbones.unet import UNet, UNetConfig
from clipmill.models.layers.convolution import SpaceConvolution
from clipmill.models.layers.embeddings import rotary_table
from clipmill.models.layers.norms import FrameGroupNorm, Modulation
from clipmill.models.layers.plan import (
    CAUSAL,
    DIAGONAL,
    FIRST_AND_PREVIOUS,
    FIRST_FRAME,
    FULL,
    SPATIAL,
    TEMPORAL,
    TEMPORAL_CAUSAL,
    AttentionPlan,
)
from clipmill.models.layers.temporal import temporal_parameter_names

torch.set_num_threads(1)
BATCH, FRAMES, CHANNELS, HEIGHT, WIDTH = 2, 3, 3, 6, 5
TOKEN_DIM, VECTOR_DIM = 5, 7
WINDOW = AttentionPlan("window", window=(2, 2, 2))

LATTE = DiTConfig(in_channels=3, out_channels=3, width=24, depth=4, head_dim=8, patch=(1, 2, 2))
DITS = {
    "latte": LATTE,
    "sora": replace(
        LATTE, plans=(FULL,), depth=2, patch=(2, 2, 2), space_positions="rotary", time_positions="rotary", qk_norm=True
    ),
    "causal": replace(LATTE, plans=(SPATIAL, CAUSAL), vector_dim=VECTOR_DIM),
    "windows": replace(LATTE, plans=(SPATIAL, WINDOW), space_positions="rotary", time_positions="rotary"),
    "cross": replace(
        LATTE,
        plans=(FIRST_FRAME, FIRST_AND_PREVIOUS, TEMPORAL),
        text="cross",
        token_dim=TOKEN_DIM,
        vector_dim=VECTOR_DIM,
    ),
    "in-context": replace(
        LATTE, plans=(FULL,), depth=2, text="in_context", token_dim=TOKEN_DIM, space_positions="rotary"
    ),
    "stream": replace(LATTE, time_positions_in="stream", time_positions="unit", frame_channels=4),
    "latte-2": replace(LATTE, plans_in="rows"),
    "latte-3": replace(LATTE, plans=(SPATIAL,), depth=2, along_time="modulated", time_positions="rotary"),
    "latte-4": replace(LATTE, plans=(SPATIAL,), depth=2, along_time="heads", head_dim=12, vector_dim=VECTOR_DIM),
    "gentron": replace(LATTE, plans=(SPATIAL,), depth=2, along_time="zero", text="cross", token_dim=TOKEN_DIM),
    "walt": replace(LATTE, plans=(SPATIAL, WINDOW), modulation_rank=2, qk_norm=True, text="cross", token_dim=TOKEN_DIM),
    "uvit": replace(
        LATTE,
        plans=(FULL,),
        depth=5,
        told="tokens",
        vector_dim=VECTOR_DIM,
        text="in_context",
        token_dim=TOKEN_DIM,
        long_skips=True,
        final_convolution=True,
        space_positions="learned",
        space_sides=(5, 4),
        time_positions="learned",
        time_positions_in="stream",
    ),
}
VDM = UNetConfig(
    in_channels=3,
    out_channels=3,
    width=8,
    multipliers=(1, 2),
    depth=1,
    plans=((SPATIAL, TEMPORAL), (SPATIAL, TEMPORAL)),
    head_dim=4,
)
UNETS = {
    "vdm": replace(VDM, feed_forward=False, vector_dim=VECTOR_DIM),
    "video-ldm": replace(
        VDM, mixer="alpha", temporal_convolutions=True, time_positions="sinusoidal", token_dim=TOKEN_DIM
    ),
    "svd": replace(
        VDM,
        mixer="alpha_images",
        temporal_convolutions=True,
        time_positions="sinusoidal",
        token_dim=TOKEN_DIM,
        frame_channels=4,
    ),
    "make-a-video": replace(VDM, mixer="dirac", multipliers=(1, 2, 2), plans=((), (SPATIAL,), (SPATIAL, TEMPORAL))),
    "tune-a-video": replace(VDM, plans=((FIRST_AND_PREVIOUS, TEMPORAL), (FIRST_AND_PREVIOUS, TEMPORAL)), depth=2),
}
BACKBONES = {**DITS, **UNETS}


def build(config, seed=0):
    torch.manual_seed(seed)
    return DiT(config) if isinstance(config, DiTConfig) else UNet(config)


def disturb(module, names=None):
    """Numbers everywhere, also where layers start at zero."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if names is None or name in names:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return module


def video(batch=BATCH, frames=FRAMES, height=HEIGHT, width=WIDTH, channels=CHANNELS):
    return torch.randn(batch, frames, channels, height, width, generator=torch.Generator().manual_seed(1))


def conditions(config, z):
    batch = len(z)
    return Conditioning(
        vector=torch.randn(batch, VECTOR_DIM) if config.vector_dim else None,
        tokens=torch.randn(batch, 4, TOKEN_DIM) if config.token_dim else None,
        token_mask=torch.tensor([[True, True, True, False]] * batch) if config.token_dim else None,
        frames=torch.randn(*z.shape[:2], 4, *z.shape[3:]) if config.frame_channels else None,
    )


def levels(z):
    return torch.linspace(0.2, 0.8, len(z))


# The start


@pytest.mark.parametrize("config", BACKBONES.values(), ids=BACKBONES)
def test_a_new_network_predicts_zero(config):
    z = video()
    found = build(config)(z, levels(z), conditions(config, z))
    assert found.shape == z.shape
    assert not found.any()


def test_blocks_of_a_new_dit_are_the_identity():
    model, seen = build(DITS["cross"]), []
    for block in model.blocks:
        block.register_forward_hook(lambda _, given, found: seen.append(torch.equal(given[0], found)))
    z = video()
    model(z, levels(z), conditions(model.config, z))
    assert seen == [True] * 4


def image_twin(video_model, config, **changes):
    """The image model with the video model's image weights."""
    twin = build(replace(config, **changes), seed=5)
    own = {name: tensor for name, tensor in video_model.state_dict().items() if name in twin.state_dict()}
    twin.load_state_dict(own)
    return twin


@pytest.mark.parametrize("name", ["vdm", "video-ldm", "svd", "tune-a-video"])
def test_a_unet_with_new_temporal_layers_is_the_image_model_bit_by_bit(name):
    config = UNETS[name]
    model = build(config)
    temporal = temporal_parameter_names(model)
    disturb(model, {parameter for parameter, _ in model.named_parameters()} - temporal)
    plans = tuple(tuple(plan for plan in level if plan.mixes_pixels) for level in config.plans)
    twin = image_twin(model, config, plans=plans, middle_plans=plans[0], mixer="zero", temporal_convolutions=False)
    if name == "tune-a-video":
        config = replace(config, middle_plans=plans[0])
        twin = image_twin(model, config, plans=plans, middle_plans=(SPATIAL,))
    assert {parameter for parameter, _ in twin.named_parameters()} == {
        parameter for parameter, _ in model.named_parameters()
    } - temporal
    z = video()
    given = conditions(config, z)
    found = model(z, levels(z), given)
    assert found.abs().max() > 0.1
    assert torch.equal(found, twin(z, levels(z), given))
    assert not torch.equal(disturb(model, temporal)(z, levels(z), given), found)


def test_a_new_pseudo_3d_unet_treats_frames_one_by_one():
    config = UNETS["make-a-video"]
    model = build(config)
    temporal = temporal_parameter_names(model)
    disturb(model, {parameter for parameter, _ in model.named_parameters()} - temporal)
    z = video()
    found = model(z, levels(z), Conditioning())
    frames = torch.cat([model(z[:, t : t + 1], levels(z), Conditioning()) for t in range(FRAMES)], dim=1)
    torch.testing.assert_close(found, frames, rtol=0, atol=1e-5)
    disturb(model, temporal)
    assert (model(z, levels(z), Conditioning())[:, :1] - model(z[:, :1], levels(z), Conditioning())).abs().max() > 1e-2


def test_a_dit_with_closed_temporal_gates_is_the_image_model_bit_by_bit():
    model = build(DITS["latte"])
    image = {name for name, _ in model.named_parameters() if not name.startswith(("blocks.1.", "blocks.3."))}
    disturb(model, image)
    twin = build(replace(LATTE, plans=(SPATIAL,), depth=2), seed=5)
    renamed = {
        name.replace("blocks.2.", "blocks.1."): tensor for name, tensor in model.state_dict().items() if name in image
    }
    twin.load_state_dict(renamed)
    z = video()
    found = model(z, levels(z), Conditioning())
    assert found.abs().max() > 0.1
    assert torch.equal(found, twin(z, levels(z), Conditioning()))
    assert not torch.equal(disturb(model)(z, levels(z), Conditioning()), found)


@pytest.mark.parametrize("name", ["svd", "make-a-video"])
def test_training_temporal_layers_leaves_frozen_image_weights_bit_by_bit(name):
    model = disturb(build(UNETS[name]))
    temporal = temporal_parameter_names(model)
    for parameter_name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter_name in temporal)
    before = {parameter_name: tensor.clone() for parameter_name, tensor in model.state_dict().items()}
    z = video()
    optimiser = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad], lr=1e-2)
    model(z, levels(z), conditions(model.config, z)).square().mean().backward()
    optimiser.step()
    changed = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
    assert changed == temporal


# What must not mix


@pytest.mark.parametrize(
    "config", [replace(LATTE, plans=(SPATIAL, DIAGONAL)), replace(VDM, plans=((SPATIAL,), ()), middle_plans=(SPATIAL,))]
)
def test_networks_without_temporal_layers_do_not_mix_frames(config):
    model, z = disturb(build(config)), video()
    found = model(z, levels(z), Conditioning())
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(model(z[:, order], levels(z), Conditioning()), found[:, order], rtol=0, atol=1e-5)
    torch.testing.assert_close(model(z[:, :1], levels(z), Conditioning()), found[:, :1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", [LATTE, replace(LATTE, plans=(FULL,)), VDM], ids=["latte", "full", "unet"])
def test_the_order_of_frames_is_known_by_positions_only(config):
    z, order = video(), torch.tensor([2, 0, 1])
    found = {}
    for positions in ("none", config.time_positions):
        model = disturb(build(replace(config, time_positions=positions)))
        plain, turned = (model(frames, levels(z), Conditioning()) for frames in (z, z[:, order]))
        found[positions] = (plain[:, order] - turned).abs().max().item()
    assert found.pop("none") < 1e-5
    assert min(found.values()) > 1e-3


@pytest.mark.parametrize("plans", [(CAUSAL,), (SPATIAL, TEMPORAL_CAUSAL)])
def test_a_causal_dit_predicts_frames_without_later_ones(plans):
    model, z = disturb(build(replace(LATTE, plans=plans))), video()
    changed = z.clone()
    changed[:, 2] += 1
    found, other = (model(frames, levels(z), Conditioning()) for frames in (z, changed))
    torch.testing.assert_close(found[:, :2], other[:, :2], rtol=0, atol=1e-6)
    assert (found[:, 2] - other[:, 2]).abs().max() > 1e-3


@pytest.mark.parametrize("config", BACKBONES.values(), ids=BACKBONES)
def test_samples_of_a_batch_do_not_mix(config):
    model, z = disturb(build(config)), video()
    given = conditions(config, z)
    found = model(z, levels(z), given)
    alone = model(z[1:], levels(z)[1:], given.map(lambda tensor: tensor[1:]))
    torch.testing.assert_close(found[1:], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["latte", "cross"])
def test_modulation_is_computed_once_per_sample_not_once_per_frame(name):
    model, rows = build(DITS[name]), []
    for module in model.modules():
        if isinstance(module, Modulation):
            module.linear.register_forward_hook(lambda _, given, found: rows.append(found.shape[:-1]))
    z = video()
    model(z, levels(z), conditions(model.config, z))
    assert rows == [(BATCH,)] * (model.config.depth + 1)


# Images and clips


@pytest.mark.parametrize("config", BACKBONES.values(), ids=BACKBONES)
def test_an_image_is_a_clip_of_one_frame(config):
    model, z = disturb(build(config)), video(frames=1)
    found = model(z, levels(z), conditions(config, z))
    assert found.shape == z.shape
    assert found.isfinite().all()


@pytest.mark.parametrize(
    "config", [LATTE, replace(LATTE, plans=(FULL,), time_positions="rotary"), UNETS["vdm"], VDM, UNETS["make-a-video"]]
)
def test_images_appended_to_a_clip_leave_it_as_it_is(config):
    model, z = disturb(build(config)), video(frames=5)
    alone = torch.tensor([[False, False, False, True, True]] * BATCH)
    found = model(z, levels(z), Conditioning(independent=alone))
    torch.testing.assert_close(found[:, :3], model(z[:, :3], levels(z), Conditioning()), rtol=0, atol=1e-5)
    assert (found[:, 3:] - model(z, levels(z), Conditioning())[:, 3:]).abs().max() > 1e-3
    swapped = model(z.flip(1), levels(z), Conditioning(independent=alone.flip(1)))
    if config.time_positions == "rotary" and config is not UNETS["make-a-video"]:
        torch.testing.assert_close(swapped[:, :2], found[:, 3:].flip(1), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "config", [LATTE, replace(LATTE, plans=(FULL,), time_positions="rotary"), UNETS["vdm"], VDM, UNETS["make-a-video"]]
)
def test_an_image_behind_a_clip_is_the_image_alone(config):
    """Wherever it stands in the batch: what is learned of images is one function."""
    model, z = disturb(build(config)), video(frames=5)
    behind = torch.tensor([[False, False, False, True, True]] * BATCH)
    found = model(z, levels(z), Conditioning(independent=behind))
    for place in (3, 4):
        image = z[:, place : place + 1]
        alone = model(image, levels(z), Conditioning(independent=torch.ones(BATCH, 1, dtype=torch.bool)))
        torch.testing.assert_close(found[:, place : place + 1], alone, rtol=0, atol=1e-5)


def test_the_image_switch_makes_a_clip_of_images_a_batch_of_images():
    config = replace(UNETS["svd"], frame_channels=0, token_dim=0)
    model, z = disturb(build(config)), video()
    as_clip = model(z, levels(z), Conditioning(independent=torch.ones(BATCH, FRAMES, dtype=torch.bool)))
    one_by_one = model(z.flatten(0, 1)[:, None], levels(z).repeat_interleave(FRAMES), Conditioning())
    torch.testing.assert_close(as_clip.flatten(0, 1), one_by_one[:, 0], rtol=0, atol=1e-5)


# Sizes


@pytest.mark.parametrize("patch", [(1, 2, 2), (3, 3, 5), (2, 1, 4), (5, 7, 7), (1, 1, 1)])
def test_patches_come_back_as_the_video(patch):
    z = video()
    patches = patchify(z, patch)
    grid = patch_grid((FRAMES, HEIGHT, WIDTH), patch)
    assert patches.shape == (BATCH, *grid, patch[0] * patch[1] * patch[2] * CHANNELS)
    assert torch.equal(unpatchify(patches, patch, (FRAMES, HEIGHT, WIDTH)), z)
    inside = patchify(torch.ones_like(z), patch).amax(-1)
    assert inside.min() == 1


def test_a_patch_holds_its_neighbourhood():
    z = torch.arange(4 * 4 * 6.0).view(1, 4, 1, 4, 6)
    found = patchify(z, (2, 2, 3))[0, 1, 0, 1]
    assert torch.equal(found, z[0, 2:4, 0, 0:2, 3:6].flatten())


@pytest.mark.parametrize("patch", [(1, 3, 3), (3, 5, 3), (2, 2, 2)])
@pytest.mark.parametrize("size", [(1, 4, 4), (5, 7, 6)])
def test_a_dit_takes_any_patch_and_any_size(patch, size):
    model = disturb(build(replace(LATTE, patch=patch)))
    z = video(1, *size)
    assert model(z, levels(z), Conditioning()).shape == z.shape


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 5, 7), (3, 9, 3)])
@pytest.mark.parametrize("name", ["make-a-video", "vdm"])
def test_a_unet_takes_any_size(size, name):
    model = disturb(build(UNETS[name]))
    z = video(1, *size)
    found = model(z, levels(z), Conditioning())
    assert found.shape == z.shape
    assert found.isfinite().all()


# Conditions


@pytest.mark.parametrize("name", ["cross", "in-context", "svd", "vdm", "stream", "gentron", "walt", "uvit"])
def test_every_condition_is_heard_and_padding_is_not(name):
    config = BACKBONES[name]
    model, z = disturb(build(config)), video()
    given = conditions(config, z)
    found = model(z, levels(z), given)
    for part in ("vector", "tokens", "frames"):
        if getattr(given, part) is None:
            continue
        other = replace(given, **{part: getattr(given, part) + 1})
        assert (model(z, levels(z), other) - found).abs().max() > 1e-4, part
        absent = model(
            z, levels(z), replace(given, **{part: None, "token_mask": None if part == "tokens" else given.token_mask})
        )
        assert absent.isfinite().all()
    assert (model(z, levels(z) + 0.1, given) - found).abs().max() > 1e-4
    if given.tokens is not None:
        padding = given.tokens.clone()
        padding[:, 3] += 5
        torch.testing.assert_close(model(z, levels(z), replace(given, tokens=padding)), found, rtol=0, atol=1e-6)


def test_text_in_context_comes_first_and_has_no_place_in_time_and_space():
    table = rotary_table((3, 2, 2), (2, 2, 4), torch.device("cpu"))
    time, mask = torch.randn(3, 1, 1, 8), torch.tensor([[True, False]] * BATCH)
    x, tokens = torch.randn(BATCH, 3, 2, 2, 8), torch.randn(BATCH, 2, 8)
    row, given, turns = with_text(x, tokens, BlockInputs(tokens, None, mask, None, None, time, None), [table])
    assert torch.equal(row[:, 0, 0], torch.cat([tokens, x.flatten(1, 3)], dim=1))
    assert torch.equal(turns[0][0, 0, :2], torch.tensor([[1.0] * 4, [0.0] * 4]).expand(2, -1, -1))
    assert torch.equal(turns[0][0, 0, 2:], table.flatten(0, 2))
    assert not given.time[0, 0, :2].any()
    assert torch.equal(given.time[0, 0, 2 + 4], time[1, 0, 0])
    assert torch.equal(given.key_mask, torch.cat([mask, torch.ones(BATCH, 12, dtype=torch.bool)], dim=1))


def test_conditions_without_a_place_are_refused():
    z = video()
    for config in (LATTE, VDM):
        model = build(config)
        for given in ({"vector": torch.zeros(2, 3)}, {"tokens": torch.zeros(2, 1, 3)}, {"frames": z}):
            with pytest.raises(UserError, match=next(iter(given))):
                model(z, levels(z), Conditioning(**given))
        with pytest.raises(UserError, match="videos"):
            model(z[:, :, :2], levels(z), Conditioning())
    with pytest.raises(UserError, match="single frame"):
        build(DITS["sora"])(z, levels(z), Conditioning(independent=torch.zeros(2, 3, dtype=torch.bool)))


def test_configs_that_contradict_themselves_are_refused():
    with pytest.raises(UserError, match="set both or neither"):
        DiTConfig(text="cross")
    with pytest.raises(UserError, match="in context"):
        DiTConfig(text="in_context", token_dim=4)
    with pytest.raises(UserError, match="attention plans"):
        UNetConfig(multipliers=(1, 2))


def test_a_unet_keeps_channels_last_in_memory_throughout():
    """So that 2-D kernels serve all convolutions and attention sees positions without a copy."""
    model, orders = build(replace(UNETS["video-ldm"], token_dim=0)), []
    for module in model.modules():
        if isinstance(module, SpaceConvolution | FrameGroupNorm):
            module.register_forward_hook(
                lambda _, given, found: orders.append(given[0].permute(0, 1, 3, 4, 2).is_contiguous())
            )
    z = video()
    model(z, levels(z), Conditioning())
    assert len(orders) > 40
    assert all(orders)


# Training


@pytest.mark.parametrize("config", BACKBONES.values(), ids=BACKBONES)
def test_gradients_reach_every_parameter(config):
    model, z = build(config), video(frames=4)
    given, target = conditions(config, z), video(frames=4).roll(1, dims=1)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    # What starts at zero opens layer by layer, from the output inwards.
    for _ in range(4):
        optimiser.zero_grad()
        (model(z, levels(z), given) - target).square().mean().backward()
        optimiser.step()
    unreached = [
        name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    assert unreached == []


@pytest.mark.parametrize("name", ["latte", "svd"])
@pytest.mark.parametrize("every", [1, 2])
def test_recomputation_gives_the_same_gradients(name, every):
    model, z = disturb(build(BACKBONES[name])), video()
    given, gradients = conditions(model.config, z), []
    for model.recompute_every in (0, every):
        model.zero_grad()
        model(z, levels(z), given).square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


def test_recomputation_runs_the_chosen_blocks_twice():
    model, z, runs = build(LATTE), video(), []
    for index, block in enumerate(model.repeated_blocks()):
        block.attention.register_forward_hook(lambda *_, index=index: runs.append(index))
    model.recompute_every = 2
    model(z, levels(z), Conditioning()).mean().backward()
    assert sorted(runs) == [0, 0, 1, 2, 2, 3]


SMALL_SVD = replace(UNETS["svd"], multipliers=(1,), plans=((),), middle_plans=(SPATIAL, TEMPORAL))


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [replace(DITS["cross"], depth=3), replace(DITS["in-context"], depth=1), DITS["gentron"], DITS["uvit"], SMALL_SVD],
)
def test_networks_compile_into_a_single_graph(config):
    model, z = disturb(build(config)), video()
    given = conditions(model.config, z)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(z, levels(z), given), model(z, levels(z), given), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["latte", "in-context", "svd"])
def test_networks_run_under_bfloat16_autocast(name):
    model, z = disturb(build(BACKBONES[name])), video()
    given = conditions(model.config, z)
    exact = model(z, levels(z), given)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(z, levels(z), given)
    assert (found.float() - exact).abs().max() < 0.1 * exact.abs().max()
    found.float().square().mean().backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("config", BACKBONES.values(), ids=BACKBONES)
def test_operations_are_those_that_torch_counts(config):
    model, z = build(config), video(batch=1, frames=5, height=9, width=7)
    given = conditions(config, z)
    with FlopCounterMode(display=False) as counter:
        model(z, levels(z), given)
    found = model.flops((5, 9, 7), tokens=4 if config.token_dim else 0)
    assert found == pytest.approx(counter.get_total_flops(), rel=1e-3)
    assert training_flops(model, (5, 9, 7)) == 3 * model.flops((5, 9, 7))


def test_latte_xl_has_its_published_size():
    """674.0 M parameters and 3.786 TFLOP forward for 16 frames of 32 x 32 latents; it predicts variances too."""
    config = DiTConfig(width=1152, depth=28, head_dim=72, out_channels=8)
    with torch.device("meta"):
        model = DiT(config)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(674.0, rel=0.01)
    assert model.flops((16, 32, 32)) / 1e12 == pytest.approx(3.786, rel=0.02)
