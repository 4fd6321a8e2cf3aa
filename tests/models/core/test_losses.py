"""Noise keyed by sample, levels drawn from it, and losses that mean the same under every parametrisation."""

import math

import numpy as np
import pytest
import torch
from helpers.denoising_oracles import normal, one_thread  # noqa: F401

from clipmill.curate.errors import UserError
from clipmill.models.core import loss_weights
from clipmill.models.core.by_name import level_sampler_named, loss_weight_named
from clipmill.models.core.geometry import Geometry
from clipmill.models.core.losses import prediction_weights, sample_losses
from clipmill.models.core.noise import SampleNoise
from clipmill.models.core.noise_level import NoiseLevel, noised
from clipmill.models.core.parametrisation import Clean, Edm, Epsilon, FlowVelocity, V, estimate_of_x0
from clipmill.models.core.schedules import Cosine, Flow, Karras, Shifted
from clipmill.models.core.timesteps import LogitNormal, LogNormal, Mode, Uniform, bin_centres

ALL = {
    "eps": Epsilon(),
    "x": Clean(),
    "v": V(),
    "flow": FlowVelocity(),
    "edm": Edm(),
    "edm, data 1.7": Edm(data_std=1.7),
}
# Each weight, and the factor on |x0 error|² that its paper states, as a function of alpha and sigma.
WEIGHTS = {
    "eps": lambda a, s: (a / s) ** 2,
    "x": lambda a, s: torch.ones_like(a),
    "v": lambda a, s: 1 + (a / s) ** 2,
    "flow": lambda a, s: ((a + s) / s) ** 2,
    "edm": lambda a, s: ((s / a) ** 2 + 0.25) / (s / a * 0.5) ** 2,
    "min-snr": lambda a, s: ((a / s) ** 2).clamp_max(5),
    "truncated-snr": lambda a, s: ((a / s) ** 2).clamp_min(1),
    "p2": lambda a, s: (a / s) ** 2 / (1 + (a / s) ** 2),
    "sigmoid": lambda a, s: (a / s) ** 2 * torch.sigmoid(-3 - 2 * (a / s).log()),
}
BATCH = 9
SHAPE = (BATCH, 2, 3, 4, 5)


@pytest.mark.parametrize("geometry", Geometry)
@pytest.mark.parametrize("name", WEIGHTS)
def test_a_weight_is_its_paper_s_under_every_parametrisation(name, geometry):
    ratio = torch.logspace(-1, 1, BATCH, dtype=torch.float64)
    level = geometry.level(torch.ones_like(ratio), ratio)
    x0, eps, wrong = normal(*SHAPE, seed=1), normal(*SHAPE, seed=2), normal(*SHAPE, seed=3)
    belief = estimate_of_x0(wrong, noised(x0, eps, level), level)
    expected = WEIGHTS[name](level.alpha, level.sigma) * (wrong - x0).square().flatten(1).mean(dim=1)
    for parametrisation in ALL.values():
        prediction = parametrisation.target(*belief, level)
        found = sample_losses(prediction, x0, eps, level, parametrisation, loss_weight_named(name), max_weight=math.inf)
        assert found.dtype == torch.float32
        assert torch.allclose(found.double(), expected, rtol=2e-4), parametrisation


@pytest.mark.parametrize("name", WEIGHTS)
def test_nothing_is_infinite_at_either_end(name):
    ends = NoiseLevel(torch.tensor([1.0, 1.0, 1e-9, 0.0]).double(), torch.tensor([0.0, 1e-9, 1.0, 1.0]).double())
    for parametrisation in ALL.values():
        weights = prediction_weights(ends, parametrisation, loss_weight_named(name))
        assert bool(((weights >= 0) & (weights <= 400)).all()), parametrisation


@pytest.mark.parametrize("name", ["eps", "x", "v", "flow", "edm"])
def test_the_plain_loss_of_what_is_predicted_has_weight_one(name):
    weights = prediction_weights(
        Flow().level(torch.linspace(0.001, 0.999, 50)), ALL[name], loss_weight_named(name), math.inf
    )
    assert (weights - 1).abs().max() < 1e-12


def test_an_x_prediction_under_a_v_loss_stops_growing():
    level = Cosine().level(torch.tensor([1e-6, 0.02, 0.2, 0.7]))
    weights = prediction_weights(level, Clean(), loss_weights.plain(V()))
    assert weights.tolist() == pytest.approx(
        [400, 400, *(1 / (math.sin(math.pi * t / 2) ** 2) for t in (0.2, 0.7))], rel=1e-6
    )


def test_given_frames_do_not_count():
    x0, eps, level = normal(*SHAPE, seed=1), normal(*SHAPE, seed=2), Flow().level(torch.linspace(0.1, 0.9, BATCH))
    prediction = normal(*SHAPE, seed=3)
    shares = torch.ones(BATCH, 2)
    shares[:4, 0], shares[4] = 0, 0
    found = sample_losses(prediction, x0, eps, level, V(), loss_weights.min_snr(), shares)
    second = sample_losses(prediction[:, 1:], x0[:, 1:], eps[:, 1:], level, V(), loss_weights.min_snr())
    whole = sample_losses(prediction, x0, eps, level, V(), loss_weights.min_snr())
    assert torch.allclose(found[:4], second[:4])
    assert float(found[4]) == 0
    assert torch.allclose(found[5:], whole[5:])
    per_frame = NoiseLevel(*(part[:, None].expand(BATCH, 2) for part in (level.alpha, level.sigma)))
    assert torch.allclose(sample_losses(prediction, x0, eps, per_frame, V(), loss_weights.min_snr()), whole)


def test_noise_does_not_depend_on_how_samples_are_batched():
    """One batch of 12, three of 4, or two processes that take every other sample."""
    whole = SampleNoise(7, range(100, 112))
    normals, uniforms, spread = whole.normal((2, 3), "noise"), whole.uniform("time"), whole.stratified("time", 8)
    for parts in (
        [range(100, 104), range(104, 108), range(108, 112)],
        [range(100, 112, 2), range(101, 112, 2)],
        [[105], [111, 100]],
    ):
        for part in parts:
            noise, rows = SampleNoise(7, list(part)), [i - 100 for i in part]
            assert torch.equal(noise.uniform("time"), uniforms[rows])
            assert torch.equal(noise.stratified("time", 8), spread[rows])
            assert torch.equal(noise.normal((2, 3), "noise"), normals[rows])
    assert torch.equal(whole.normal((2, 3), "noise"), normals)


def test_a_longer_video_begins_with_the_same_noise():
    few, many = (SampleNoise(1, [3]).normal((frames, 4), "noise") for frames in (2, 5))
    assert torch.equal(many[:, :2], few)


def test_streams_have_nothing_in_common():
    """Seeds 2**32 apart as well, which a 32-bit generator takes for one."""
    base = SampleNoise(5, [9]).normal((20_000,), "noise")
    others = [
        SampleNoise(5 + 2**32, [9]).normal((20_000,), "noise"),
        SampleNoise(6, [9]).normal((20_000,), "noise"),
        SampleNoise(9, [5]).normal((20_000,), "noise"),
        SampleNoise(5, [10]).normal((20_000,), "noise"),
        SampleNoise(5, [9 + 2**32]).normal((20_000,), "noise"),
        SampleNoise(5, [9]).normal((20_000,), "condition"),
        SampleNoise(5, [9]).normal((20_000,), "noise", draw=1),
    ]
    together = torch.cat([base, *others]).double()
    correlations = torch.corrcoef(together) - torch.eye(len(together))
    assert correlations.abs().max() < 5 / math.sqrt(20_000)
    for other in others:
        # Nor is one a later part of another: of so many single-precision numbers about one in a hundred meets its equal
        # by chance.
        assert np.isin(other.numpy(), base.numpy()).mean() < 0.05
    assert together.mean().abs() < 5 / math.sqrt(160_000)
    assert together.var().item() == pytest.approx(1, abs=0.02)
    assert together.pow(4).mean().item() == pytest.approx(3, abs=0.12)


def test_steps_of_a_sampler_are_fresh_and_not_where_it_starts():
    noise = SampleNoise(0, [0, 1])
    steps = noise.steps((2, 2), "sampling")
    assert torch.equal(steps(3), noise.normal((2, 2), "sampling", draw=4))
    assert not torch.equal(steps(0), noise.normal((2, 2), "sampling"))


@pytest.mark.parametrize("block", [1, 3, 8, 64])
def test_stratified_numbers_fill_every_stratum_once(block):
    blocks = 40
    values = SampleNoise(2, range(block * 5, block * (5 + blocks))).stratified("time", block).reshape(blocks, block)
    assert bool(((values >= 0) & (values < 1)).all())
    assert torch.equal((values * block).long().sort(dim=1).values, torch.arange(block).expand(blocks, block))
    # Uniform within a stratum, and not the same from block to block.
    assert values[:, 0].unique().numel() == blocks
    offsets = (values * block).frac()
    assert offsets.mean().item() == pytest.approx(0.5, abs=4 * math.sqrt(1 / 12 / blocks))


@pytest.mark.parametrize(
    "make", [lambda: SampleNoise(-1, [0]), lambda: SampleNoise(0, [2**64]), lambda: SampleNoise(0, [3, -2])]
)
def test_wrong_seeds_are_one_line(make):
    with pytest.raises(UserError, match="whole numbers from 0"):
        make()


FINE = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000


@pytest.mark.parametrize(
    "sampler", [Uniform(), Uniform(10), LogitNormal(), LogitNormal(0.5, 0.3), Mode(), Mode(-1), LogNormal()]
)
@pytest.mark.parametrize("schedule", [Flow(), Cosine(), Karras()])
def test_levels_rise_with_the_number_they_are_drawn_from(sampler, schedule):
    level = sampler.level(FINE, schedule)
    assert bool((level.angle.diff() >= 0).all())
    ends = sampler.level(torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64), schedule)
    assert bool(torch.isfinite(ends.alpha).all() and torch.isfinite(ends.sigma).all())


def test_distributions_are_those_of_the_papers():
    t = LogitNormal(0.5, 0.8).level(FINE, Flow()).sigma
    logit = (t / (1 - t)).log()
    assert (logit.mean().item(), logit.std().item()) == pytest.approx((0.5, 0.8), abs=2e-3)
    log_sigma = LogNormal(0.7, 1.6).level(FINE, Karras()).sigma.log()
    shifted = LogNormal(0.7, 1.6).level(FINE, Shifted(Karras(), 3.0)).sigma.log()
    torch.testing.assert_close(shifted, log_sigma + math.log(3), rtol=0, atol=1e-12)
    assert (log_sigma.mean().item(), log_sigma.std().item()) == pytest.approx((0.7, 1.6), abs=2e-3)
    assert LogNormal(0.7, 1.6).level(FINE, Cosine()).log_snr.mean().item() == pytest.approx(-1.4, abs=4e-3)
    u = 1 - FINE
    mode = Mode(1.29).level(FINE, Flow()).sigma
    assert (mode - (1 - u - 1.29 * ((torch.pi * u / 2).cos() ** 2 - 1 + u))).abs().max() < 1e-12
    middle = [
        (abs(m.level(FINE, Flow()).sigma - 0.5) < 0.1).double().mean().item() for m in (Mode(-1), Mode(0), Mode(1.29))
    ]
    assert middle[0] < middle[1] == pytest.approx(0.2, abs=1e-3)
    assert middle[2] > 0.3
    assert (Mode(0).level(FINE, Flow()).sigma - FINE).abs().max() < 1e-12


def test_discrete_steps_are_equally_often():
    found = Uniform(10).level(FINE, Flow()).sigma
    values, counts = np.unique(found.numpy(), return_counts=True)
    assert values == pytest.approx(np.arange(1, 11) / 10)
    assert bool((counts == 2000).all())
    assert float(Uniform(10).level(torch.zeros(1), Flow()).sigma) == pytest.approx(0.1)


def test_a_shift_makes_training_noisier():
    means = [LogitNormal().level(FINE, Shifted(Flow(), ratio)).log_snr.mean().item() for ratio in (0.5, 1, 3)]
    assert means == pytest.approx([-2 * math.log(r) for r in (0.5, 1, 3)], abs=1e-9)


def test_bins_for_validation():
    assert bin_centres(4).tolist() == [0.125, 0.375, 0.625, 0.875]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Mode(3), "between -1 and 1.75"),
        (lambda: SampleNoise(0, [0]).stratified("time", 0), "one sample or more"),
        (lambda: loss_weight_named("minsnr"), "no loss weight 'minsnr'; there are eps, x, v, flow, edm, min-snr"),
        (lambda: level_sampler_named("logit-normal", {"sigma": 1}), "no option 'sigma'; it has mean, std"),
    ],
)
def test_wrong_choices_are_one_line(make, says):
    with pytest.raises(UserError, match=says):
        make()
