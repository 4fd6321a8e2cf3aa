"""Conditions: numbers and labels of a clip, shares that are dropped, and what a hidden condition may reach."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from clipmill.curate.common.settings import build
from clipmill.curate.errors import UserError
from clipmill.models.backbones.dit import DiT, DiTConfig
from clipmill.models.backbones.unet import UNet, UNetConfig
from clipmill.models.conditioning.classes import class_names_of, class_numbers
from clipmill.models.conditioning.conditioner import Conditioner, joined
from clipmill.models.conditioning.config import ClassConfig, ConditioningConfig, FramesConfig, MicroConfig
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.conditioning.dropout import Hidden, batch_of, hidden
from clipmill.models.conditioning.micro import MicroEmbedding, micro_numbers, standardised
from clipmill.models.conditioning.text.config import TextConfig
from clipmill.models.config import section
from clipmill.models.core.noise import SampleNoise
from clipmill.models.layers.plan import SPATIAL, TEMPORAL

torch.set_num_threads(1)
CHANNELS, FRAMES, SIDE, BATCH, MANY = 3, 4, 4, 3, 20_000
CAPTIONS = ["a red ball", "a blue ball", "rain"]
LABELS = ["cat", None, "dog"]
NUMBERS = {"fps": torch.tensor([8.0, 24.0, 8.0]), "motion": torch.tensor([0.5, math.nan, 3.0])}
PARTS = {"text": "tokens", "classes": "classes", "frames": "frames"}


def config_of(**changes):
    whole = ConditioningConfig(
        TextConfig("hash", tokens=4, dim=8),
        ClassConfig("kind", ("cat", "dog"), dim=8),
        MicroConfig(("fps", "motion"), dim=8),
        FramesConfig("first", perturbation="log-normal"),
    )
    return replace(whole, **changes)


def latents(batch=BATCH, frames=FRAMES):
    return torch.randn(batch, frames, CHANNELS, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def conditioner_of(config=None):
    torch.manual_seed(0)
    return Conditioner(config or config_of(), CHANNELS)


def made(conditioner, indices=range(BATCH)):
    conditions = conditioner.conditions(CAPTIONS, NUMBERS, LABELS)
    return conditioner.with_given_frames(conditions, latents(), SampleNoise(0, list(indices)))[0]


def backbone_of(conditioner, kind="dit"):
    """All weights away from zero."""
    places = {
        "vector_dim": conditioner.vector_dim,
        "token_dim": conditioner.token_dim,
        "frame_channels": conditioner.frame_channels,
    }
    sizes = {"in_channels": CHANNELS, "out_channels": CHANNELS}
    torch.manual_seed(2)
    if kind == "dit":
        text = "cross" if conditioner.token_dim else "none"
        model = DiT(DiTConfig(width=32, depth=2, head_dim=16, patch=(1, 2, 2), text=text, **sizes, **places))
    else:
        plans = ((SPATIAL, TEMPORAL),) * 2
        model = UNet(
            UNetConfig(width=16, multipliers=(1, 2), depth=1, plans=plans, head_dim=8, groups=4, **sizes, **places)
        )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return model


def predicted(model, conditioner, conditions):
    return model(latents(), torch.full((BATCH,), 0.5), conditioner(conditions))


def equal(first, second):
    pairs = [(getattr(first, name), getattr(second, name)) for name in vars(first)]
    return all((a is None) == (b is None) and (a is None or torch.equal(a, b)) for a, b in pairs)


# Config


def test_a_table_of_settings_becomes_a_config():
    table = {
        "text": {"encoder": "hash"},
        "classes": {"names": ["a"]},
        "frames": {"given": "masks"},
        "guidance_drops": ["text", "micro"],
    }
    config = section(ConditioningConfig, table, "conditioning")
    assert config.parts == ("text", "classes", "frames")
    assert config.guidance_drops == ("text", "micro")
    assert build(MicroConfig, {"columns": ["fps"]}, "micro").columns == ("fps",)


@pytest.mark.parametrize(
    ("kind", "values", "says"),
    [
        (TextConfig, {"drop": 1.5}, "between 0 and 1"),
        (TextConfig, {"tokens": 0}, "at least 1"),
        (ClassConfig, {"names": ["a", "a"]}, "twice"),
        (MicroConfig, {"dim": 7}, "even"),
        (FramesConfig, {"prediction": 0.8, "interpolation": 0.3}, "at most 1"),
        (FramesConfig, {"given": "masks", "layout": "repeat"}, "first frame alone"),
        (FramesConfig, {"context_frames": 0}, "context_frames"),
        (ConditioningConfig, {"guidance_drops": ["txt"]}, "is one of"),
    ],
)
def test_settings_that_cannot_be_are_refused(kind, values, says):
    with pytest.raises(UserError, match=says):
        build(kind, values, "conditioning")


# Classes


def test_class_names_are_the_sorted_labels_of_the_manifest():
    table = pd.DataFrame(
        {"kind": ["dog", None, "cat", "dog", np.nan], "number": [2.0, 1.0, np.nan, 1.0, 2.0], "empty": [None] * 5}
    )
    assert class_names_of(table, "kind") == ("cat", "dog")
    assert class_names_of(table, "number") == ("1.0", "2.0")
    for column in ("empty", "missing"):
        with pytest.raises(UserError, match=r"set conditioning\.classes\.column"):
            class_names_of(table, column)


def test_labels_become_numbers_and_unknown_ones_are_refused():
    assert class_numbers(["dog", None, "cat"], ("cat", "dog")).tolist() == [2, 0, 1]
    with pytest.raises(UserError, match="did you mean 'cat'"):
        class_numbers(["catt"], ("cat", "dog"))
    with pytest.raises(UserError, match="knows 40 others"):
        class_numbers(["x"], [f"class {number}" for number in range(40)])


def test_classes_need_names_and_a_place():
    with pytest.raises(UserError, match="names"):
        Conditioner(ConditioningConfig(classes=ClassConfig("kind")), CHANNELS)
    with pytest.raises(UserError, match="not conditioned on classes"):
        Conditioner(ConditioningConfig(), CHANNELS).conditions(["a"], {}, ["cat"])


# Numbers


def test_unknown_numbers_are_no_zeros():
    config = MicroConfig(("motion",), dim=8)
    values, known = micro_numbers(config, {"motion": torch.tensor([0.0, math.nan, math.inf])}, 3)
    assert known.tolist() == [[True], [False], [False]]
    found = MicroEmbedding(1, 8)(values, known)
    assert found[0].abs().max() == 1
    assert not found[1:].any()
    absent = micro_numbers(config, {}, 3)
    assert not absent[0].any()
    assert not absent[1].any()
    with pytest.raises(UserError, match="'motions'; did you mean 'motion'"):
        micro_numbers(config, {"motions": torch.zeros(3)}, 3)


def test_numbers_are_standardised_by_their_logarithm():
    values = torch.tensor([0.0, 0.01, 1.0, 24.0, -24.0, 1e6])
    found = standardised("motion", values)
    assert found[1].item() == pytest.approx(0.01, abs=1e-4)
    assert found[3] == -found[4]
    assert (found[[4, 0, 1, 2, 3, 5]].diff() > 0).all()
    assert found.abs().max() < 15


def test_the_offset_of_stable_video_diffusion_moves_fps_alone():
    values = torch.tensor([1.0, 7.0])
    assert torch.equal(standardised("fps", values, -1.0), standardised("fps", values - 1))
    assert standardised("fps", values, -1.0)[0] == 0
    assert torch.equal(standardised("motion", values, -1.0), standardised("motion", values))
    told = micro_numbers(MicroConfig(("fps",), fps_offset=-1.0), {"fps": values}, 2)[0]
    torch.testing.assert_close(told[:, 0], values.log())


def test_sinusoids_tell_usual_numbers_apart_and_keep_near_ones_near():
    embed = MicroEmbedding(1, 64)
    rates = standardised("fps", torch.tensor([6.0, 7.0, 8.0, 24.0, 25.0, 30.0, 60.0]))[:, None]
    found = embed(rates, torch.ones_like(rates, dtype=torch.bool))
    assert torch.pdist(found).min() > 1
    near = embed(rates * 1.001, torch.ones_like(rates, dtype=torch.bool))
    assert (near - found).norm(dim=1).max() < 1.5


# Dropping


def hidden_parts(conditions):
    """bool [B] for each condition that may be lost on its own."""
    return {
        "text": ~conditions.token_mask.any(1),
        "classes": conditions.classes == 0,
        "fps": ~conditions.micro_known[:, 0],
        "motion": ~conditions.micro_known[:, 1],
        "frames": ~conditions.frames.flatten(1).any(1),
    }


def dropped_many(config, count):
    conditioner, numbers = Conditioner(config, 1), {"fps": torch.ones(count), "motion": torch.ones(count)}
    conditions = conditioner.conditions(["red"] * count, numbers, ["cat"] * count)
    conditions = conditioner.with_known_frames(
        conditions, torch.ones(count, 1, 1, 1, 1), 2, SampleNoise(0, range(count))
    )
    return conditioner.dropped(conditions, SampleNoise(11, range(count)))


def test_each_condition_is_dropped_as_often_as_stated_and_on_its_own():
    shares = {"text": 0.1, "classes": 0.2, "fps": 0.3, "motion": 0.3, "frames": 0.4}
    config = ConditioningConfig(
        TextConfig("hash", tokens=1, dim=2, drop=shares["text"]),
        ClassConfig("kind", ("cat",), dim=2, drop=shares["classes"]),
        MicroConfig(("fps", "motion"), dim=2, drop=shares["fps"]),
        FramesConfig("first", drop=shares["frames"], perturbation="log-normal", sampling_noise=0.0),
    )
    found = dropped_many(config, MANY)
    lost = hidden_parts(found)
    assert torch.equal(lost["frames"], ~found.micro_known[:, 2])
    for name, share in shares.items():
        assert lost[name].float().mean().item() == pytest.approx(share, abs=3 * (share * (1 - share) / MANY) ** 0.5)
    together = torch.corrcoef(torch.stack(list(lost.values())).double()).fill_diagonal_(0)
    assert together.abs().max() < 4 / MANY**0.5
    fewer = MANY // 10
    all_lost = torch.stack(list(hidden_parts(dropped_many(replace(config, drop_all=0.5), fewer)).values())).all(0)
    assert all_lost.float().mean().item() == pytest.approx(
        0.5 + 0.5 * math.prod(shares.values()), abs=3 * 0.5 / fewer**0.5
    )


def test_nothing_is_dropped_at_a_share_of_zero_and_all_at_one():
    for share in (0.0, 1.0):
        config = config_of(
            text=TextConfig("hash", tokens=4, dim=8, drop=share),
            classes=ClassConfig("kind", ("cat", "dog"), dim=8, drop=share),
            micro=MicroConfig(("fps", "motion"), dim=8, drop=share),
            frames=FramesConfig("first", drop=share),
        )
        conditioner = conditioner_of(config)
        conditions = made(conditioner)
        found = conditioner.dropped(conditions, SampleNoise(0, range(BATCH)))
        assert equal(found, conditions) if share == 0 else all(lost.all() for lost in hidden_parts(found).values())


# What reaches the network


@pytest.mark.parametrize("part", ["text", "classes", "micro", "frames"])
def test_absent_and_dropped_conditions_are_the_same_to_the_network(part):
    conditioner = conditioner_of(config_of(guidance_drops=(part,)))
    model, conditions = backbone_of(conditioner), made(conditioner)
    if part == "micro":
        without = replace(conditions, micro_known=conditions.micro_known & torch.tensor([False, False, True]))
    elif part == "frames":
        blank = conditioner.conditions(CAPTIONS, NUMBERS, LABELS)
        without = replace(conditions, frames=None, micro=blank.micro, micro_known=blank.micro_known)
    else:
        without = replace(conditions, **{PARTS[part]: None}, **({"token_mask": None} if part == "text" else {}))
    dropped = conditioner.unconditional(conditions)
    found, expected = conditioner(dropped), conditioner(without)
    for name in ("vector", "tokens", "token_mask"):
        assert torch.equal(getattr(found, name), getattr(expected, name))
    assert torch.equal(predicted(model, conditioner, dropped), predicted(model, conditioner, without))
    assert not torch.equal(predicted(model, conditioner, dropped), predicted(model, conditioner, conditions))


@pytest.mark.parametrize("kind", ["dit", "unet"])
def test_hidden_frames_and_words_get_exactly_no_gradient(kind):
    conditioner = conditioner_of()
    model, noise = backbone_of(conditioner, kind), SampleNoise(1, range(BATCH))
    video = latents().requires_grad_()
    conditions = conditioner.conditions(CAPTIONS, NUMBERS, LABELS)
    words = conditions.tokens.requires_grad_()
    conditions, _ = conditioner.with_given_frames(conditions, video, noise)
    lost = {"text": torch.tensor([True, False, False]), "frames": torch.tensor([False, False, True])}
    dropped = hidden(conditions, Hidden(**lost))
    model(torch.zeros_like(video), torch.full((BATCH,), 0.5), conditioner(dropped)).square().sum().backward()
    assert torch.isfinite(words.grad).all()
    assert not words.grad[lost["text"]].any()
    assert not words.grad[~conditions.token_mask].any()
    assert (words.grad[~lost["text"]].flatten(1).abs().amax(1) > 0).all()
    assert not video.grad[lost["frames"]].any()
    assert not video.grad[:, 1:].any()
    assert (video.grad[~lost["frames"], 0].flatten(1).abs().amax(1) > 0).all()


@pytest.mark.parametrize("kind", ["dit", "unet"])
@pytest.mark.parametrize("part", ["text", "classes", "micro", "frames"])
def test_every_condition_changes_what_a_network_says(kind, part):
    conditioner = conditioner_of()
    model, first = backbone_of(conditioner, kind), made(conditioner)
    other = {
        "text": replace(first, tokens=first.tokens.roll(1, 0), token_mask=first.token_mask.roll(1, 0)),
        "classes": replace(first, classes=first.classes.roll(1, 0)),
        "micro": replace(first, micro=first.micro * torch.tensor([1.1, 1.0, 1.0])),
        "frames": replace(first, frames=first.frames.roll(1, 0)),
    }[part]
    change = (predicted(model, conditioner, first) - predicted(model, conditioner, other)).flatten(1).abs().amax(1)
    assert (change > 1e-3).all()


def test_a_number_that_is_unknown_is_not_told():
    conditioner = conditioner_of()
    conditions = made(conditioner)
    changed = replace(conditions, micro=conditions.micro.where(conditions.micro_known, 99.0))
    assert torch.equal(conditioner(conditions).vector, conditioner(changed).vector)
    zero = conditioner.conditions(CAPTIONS, NUMBERS | {"motion": torch.zeros(BATCH)}, LABELS)
    assert not torch.equal(conditioner(zero).vector[1], conditioner(conditions).vector[1])


def test_a_model_says_what_it_has_places_for():
    conditioner = conditioner_of()
    found = conditioner(made(conditioner))
    assert found.vector.shape == (BATCH, conditioner.vector_dim) == (BATCH, 8 + 3 * 8)
    assert found.tokens.shape == (BATCH, 4, conditioner.token_dim)
    assert found.frames.shape[2] == conditioner.frame_channels == CHANNELS + 1
    assert set(conditioner.state_dict()) == {"classes.weight"}
    bare = Conditioner(ConditioningConfig(), CHANNELS)
    assert (bare.vector_dim, bare.token_dim, bare.frame_channels) == (0, 0, 0)
    conditions = bare.conditions(CAPTIONS, {}, [None] * BATCH)
    assert bare.dropped(conditions, SampleNoise(0, range(BATCH))) == conditions == Conditions()
    assert bare(conditions).vector is None
    with pytest.raises(UserError, match="no place for the condition 'tokens'"):
        bare(Conditions(tokens=torch.zeros(1, 2, 3)))
    with pytest.raises(UserError, match="number of samples"):
        conditioner(Conditions())


# Guidance


def test_guidance_leaves_out_text_and_classes_unless_told_otherwise():
    conditioner = conditioner_of()
    lost = hidden_parts(conditioner.unconditional(made(conditioner)))
    assert lost["text"].all()
    assert lost["classes"].all()
    assert not lost["fps"].any()
    assert not lost["frames"].any()
    frames = hidden_parts(conditioner_of(config_of(guidance_drops=("frames",))).unconditional(made(conditioner)))
    assert frames["frames"].all()
    assert not frames["text"].any()


def test_guidance_of_a_model_with_frames_alone_leaves_them_out():
    conditioner = conditioner_of(ConditioningConfig(frames=FramesConfig("first", layout="repeat")))
    conditions, _ = conditioner.with_given_frames(Conditions(), latents(), SampleNoise(0, range(BATCH)))
    assert not conditioner.unconditional(conditions).frames.any()
    with pytest.raises(UserError, match=r"sample\.guidance=1"):
        conditioner_of(ConditioningConfig(micro=MicroConfig(("fps",)))).unconditional(conditions)


def test_joined_batches_come_one_after_another():
    conditioner = conditioner_of()
    conditions = made(conditioner)
    both = joined(conditions, conditioner.unconditional(conditions))
    assert batch_of(both) == 2 * BATCH
    assert equal(both.map(lambda tensor: tensor[:BATCH]), conditions)
    bare = conditioner.conditions(CAPTIONS, NUMBERS, LABELS)
    filled = joined(bare, conditions, Conditions())
    assert batch_of(filled) == 3 * BATCH
    assert not filled.frames[:BATCH].any()
    assert torch.equal(filled.frames[BATCH : 2 * BATCH], conditions.frames)
    assert not filled.token_mask[2 * BATCH :].any()
    assert joined(Conditions(), Conditions()) == Conditions()
    unmasked = joined(replace(conditions, token_mask=None), conditions)
    assert unmasked.token_mask[:BATCH].all()
