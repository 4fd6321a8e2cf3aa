"""Given frames: which, how often, with how much noise, and what they weigh."""

import math

import pytest
import torch
from test_conditioning import (
    BATCH,
    CAPTIONS,
    CHANNELS,
    FRAMES,
    LABELS,
    MANY,
    NUMBERS,
    conditioner_of,
    config_of,
    equal,
    latents,
    made,
)

from clipmill.curate.errors import UserError
from clipmill.models.conditioning import given_frames
from clipmill.models.conditioning.config import ConditioningConfig, FramesConfig
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.core.noise import SampleNoise
from clipmill.models.core.noise_level import NoiseLevel

torch.set_num_threads(1)


def bits(number):
    return "".join("x" if number >> place & 1 else "." for place in (3, 2, 1, 0))


@pytest.mark.slow
def test_frames_are_given_as_often_as_stated():
    config = FramesConfig("masks", prediction=0.4, interpolation=0.2, random=0.1, context_frames=2)
    patterns = given_frames.given_frames(config, 4, SampleNoise(3, range(MANY)))
    names = ["".join("x" if frame else "." for frame in row) for row in patterns.tolist()]
    # Random: sixteen patterns, the one with all frames loses its last.
    by_chance = {pattern: 0.1 / 16 * (2 if pattern == "xxx." else 1) for pattern in map(bits, range(15))}
    stated = {
        pattern: by_chance[pattern] + {"x...": 0.2, "xx..": 0.2, "x..x": 0.2, "....": 0.3}.get(pattern, 0)
        for pattern in by_chance
    }
    assert set(names) == set(stated)
    for pattern, share in stated.items():
        assert names.count(pattern) / MANY == pytest.approx(share, abs=3.5 * (share * (1 - share) / MANY) ** 0.5)


def test_the_only_frame_is_never_given():
    noise = SampleNoise(0, range(200))
    for config in (FramesConfig("first"), FramesConfig("masks", prediction=0.5, interpolation=0.2, random=0.3)):
        assert not given_frames.given_frames(config, 1, noise).any()
        assert not given_frames.given_frames(config, 2, noise).all(1).any()


def test_a_sample_is_given_the_same_whatever_its_batch():
    conditioner = conditioner_of(
        config_of(frames=FramesConfig("masks", random=0.25, perturbation="uniform", context_frames=3))
    )
    whole = conditioner.dropped(made(conditioner, [5, 9, 40]), SampleNoise(0, [5, 9, 40]))
    for place, index in enumerate([5, 9, 40]):
        numbers = {name: values[place : place + 1] for name, values in NUMBERS.items()}
        alone = conditioner.conditions(CAPTIONS[place : place + 1], numbers, LABELS[place : place + 1])
        noise = SampleNoise(0, [index])
        alone, _ = conditioner.with_given_frames(alone, latents()[place : place + 1], noise)
        assert equal(
            conditioner.dropped(alone, noise), whole.map(lambda tensor, place=place: tensor[place : place + 1])
        )


@pytest.mark.parametrize("perturbation", ["none", "log-normal", "uniform"])
def test_no_noise_leaves_given_frames_bit_by_bit(perturbation):
    config = FramesConfig("first", perturbation=perturbation, sampling_noise=0.0)
    x, mask = latents(), torch.tensor([[True, False, False, False]] * BATCH)
    seen = given_frames.perturbed(x, mask, given_frames.sampling_level(config, BATCH), SampleNoise(0, range(BATCH)))
    assert torch.equal(seen[:, 0], x[:, 0])
    assert not seen[:, 1:].any()
    clean = NoiseLevel(torch.ones(BATCH, dtype=torch.float64), torch.tensor([0.0, 0.5, 0.0], dtype=torch.float64))
    mixed = given_frames.perturbed(x, mask, clean, SampleNoise(0, range(BATCH)))
    assert torch.equal(mixed[[0, 2], 0], x[[0, 2], 0])
    assert (mixed[1, 0] - x[1, 0]).std().item() == pytest.approx(0.5, rel=0.3)


def test_levels_of_noise_on_given_frames_are_distributed_as_stated():
    noise = SampleNoise(1, range(MANY))
    normal = given_frames.training_level(FramesConfig("first", perturbation="log-normal"), noise)
    assert (normal.alpha == 1).all()
    assert normal.sigma.log().mean().item() == pytest.approx(-3, abs=3 * 0.5 / MANY**0.5)
    assert normal.sigma.log().std().item() == pytest.approx(0.5, rel=0.02)
    even = given_frames.training_level(FramesConfig("first", perturbation="uniform", max_time=0.4), noise)
    times = even.angle * 2 / math.pi
    assert times.max() < 0.4
    assert times.mean().item() == pytest.approx(0.2, abs=3 * 0.4 / (12 * MANY) ** 0.5)
    torch.testing.assert_close(even.length, torch.ones(MANY, dtype=torch.float64))


def test_the_model_is_told_the_noise_that_it_sees():
    conditioner = conditioner_of(
        config_of(frames=FramesConfig("first", perturbation="log-normal", noise_mean=-0.5, noise_std=1.0))
    )
    conditions, x = made(conditioner, [2, 3, 4]), latents()
    found = (conditions.frames[:, 0, :CHANNELS] - x[:, 0]).flatten(1).std(1)
    told = conditions.micro[:, -1]
    sigma = told / (1 - told)
    assert conditions.micro_known[:, -1].all()
    assert ((found / sigma - 1).abs() < 0.4).all()
    assert sigma.unique().numel() == BATCH


def test_first_frames_come_with_a_mask():
    conditioner = conditioner_of(ConditioningConfig(frames=FramesConfig("first")))
    conditions, weights = conditioner.with_given_frames(
        conditioner.conditions(CAPTIONS, {}, [None] * BATCH), latents(), SampleNoise(0, range(3))
    )
    assert weights is None
    assert conditioner.frame_channels == CHANNELS + 1
    assert torch.equal(conditions.frames[:, 0, :CHANNELS], latents()[:, 0])
    assert (conditions.frames[:, 0, CHANNELS] == 1).all()
    assert not conditions.frames[:, 1:].any()


def test_stable_video_diffusion_shows_the_first_frame_beside_every_frame():
    conditioner = conditioner_of(ConditioningConfig(frames=FramesConfig("first", layout="repeat")))
    conditions, weights = conditioner.with_given_frames(Conditions(), latents(), SampleNoise(0, range(3)))
    assert weights is None
    assert torch.equal(conditions.frames, latents()[:, :1].expand(-1, FRAMES, -1, -1, -1))
    known = conditioner.with_known_frames(Conditions(), latents()[:, :1], FRAMES, SampleNoise(0, range(3)))
    assert torch.equal(known.frames, conditions.frames)


@pytest.mark.parametrize("layout", ["mask", "repeat"])
def test_images_of_their_own_neither_give_nor_get_frames(layout):
    conditioner = conditioner_of(ConditioningConfig(frames=FramesConfig("first", layout=layout)))
    alone = torch.tensor([[False, False, True, True], [True] * 4, [False] * 4])
    conditions, _ = conditioner.with_given_frames(Conditions(independent=alone), latents(), SampleNoise(0, range(3)))
    assert not conditions.frames[alone].any()
    assert conditions.frames[0, 0].any()


def test_given_frames_that_are_not_predicted_weigh_nothing_until_they_are_dropped():
    config = config_of(frames=FramesConfig("first", predicted=False, drop=0.5))
    conditioner = conditioner_of(config)
    noise = SampleNoise(0, range(BATCH))
    conditions, weights = conditioner.with_given_frames(
        conditioner.conditions(CAPTIONS, NUMBERS, LABELS), latents(), noise
    )
    assert weights.tolist() == [[0, 1, 1, 1]] * BATCH
    dropped = conditioner.dropped(conditions, noise)
    lost = ~dropped.frames.flatten(1).any(1)
    assert 0 < lost.sum() < BATCH
    after = conditioner.frame_weights(dropped)
    assert torch.equal(after[:, 0] == 1, lost)
    assert after[:, 1:].all()
    z = torch.zeros_like(latents())
    seen = conditioner.seen(z, dropped)
    assert torch.equal(seen[~lost, 0], latents()[~lost, 0])
    assert not seen[lost].any()
    assert not seen[:, 1:].any()
    predicted_too = conditioner_of(config_of(frames=FramesConfig("first")))
    assert predicted_too.seen(z, conditions) is z


def test_sampling_takes_frames_at_the_places_it_was_trained_for():
    noise = SampleNoise(0, range(BATCH))
    conditioner = conditioner_of(ConditioningConfig(frames=FramesConfig("masks")))
    conditions = conditioner.with_known_frames(Conditions(), latents()[:, [0, 3]], FRAMES, noise, (0, -1))
    assert torch.equal(conditions.frames[:, [0, 3], :CHANNELS], latents()[:, [0, 3]])
    assert not conditions.frames[:, 1:3].any()
    for known, places in ((latents(), None), (latents()[:, :2], (0, -4)), (latents()[:, :2], (0,))):
        with pytest.raises(UserError, match="one left to make"):
            conditioner.with_known_frames(Conditions(), known, FRAMES, noise, places)
    for config, known, says in ((FramesConfig("first"), 2, "that one alone"), (FramesConfig(), 1, "no place")):
        with pytest.raises(UserError, match=says):
            conditioner_of(ConditioningConfig(frames=config)).with_known_frames(
                Conditions(), latents()[:, :known], FRAMES, noise
            )


def test_noise_when_sampling_is_the_stated_one():
    config = config_of(frames=FramesConfig("first", perturbation="log-normal", sampling_noise=0.25))
    conditioner = conditioner_of(config)
    conditions = conditioner.conditions(CAPTIONS, NUMBERS, LABELS)
    found = conditioner.with_known_frames(conditions, latents()[:, :1], FRAMES, SampleNoise(0, range(BATCH)))
    assert (found.frames[:, 0, :CHANNELS] - latents()[:, 0]).std().item() == pytest.approx(0.25, rel=0.2)
    torch.testing.assert_close(found.micro[:, -1], torch.full((BATCH,), 0.2))


def test_a_sample_that_is_given_nothing_is_told_nothing():
    nothing = FramesConfig("masks", prediction=0.0, interpolation=0.0, perturbation="log-normal")
    conditioner = conditioner_of(config_of(frames=nothing))
    blank = conditioner.conditions(CAPTIONS, NUMBERS, LABELS)
    conditions = made(conditioner)
    assert not conditions.frames.any()
    assert torch.equal(conditioner(conditions).vector, conditioner(blank).vector)
