"""Learned variances: a bound in closed form, its optimum on Gaussian data, and sampling with it."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.commands import models
from helpers.denoising_oracles import gaussian, normal, one_thread  # noqa: F401
from helpers.trainings import losses
from torch.distributions import Normal, kl_divergence

from clipmill.models.autoencoder_for import autoencoder_of
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.config import load
from clipmill.models.core.noise import SampleNoise
from clipmill.models.core.samplers.ancestral import ancestral
from clipmill.models.core.samplers.learned_variance import halves, level_before, variance_bound
from clipmill.models.core.sampling_levels import start, stations
from clipmill.models.core.schedules import Cosine
from clipmill.models.core.tabulated import Tabulated, linear_alphas
from clipmill.models.generate.sampling import Generator
from clipmill.models.generate.watching import Watching
from clipmill.models.network import Diffusion, seeded_network
from clipmill.models.training.data.batch import VideoBatch
from clipmill.models.training.objectives.diffusion import DiffusionObjective

SHAPE = (2, 2, 3, 4, 4)
VARIANCE = 0.25


def steps_of(now, then):
    """1 - e^(l_t - l_s) and the standard deviations of posterior and forward chain, which ancestral sampling adds."""
    share = 1 - (now.alpha * then.sigma / (now.sigma * then.alpha)).square()
    return share, share.sqrt() * then.sigma, share.sqrt() * now.sigma


def test_the_bound_is_the_divergence_of_two_normal_distributions():
    schedule, gamma, error = Cosine(), torch.rand(SHAPE, dtype=torch.float64), normal(*SHAPE)
    now = schedule.level(torch.tensor([0.4, 0.9]))
    then = level_before(now, schedule, 10)
    assert torch.allclose(schedule.time_of(then), torch.tensor([0.3, 0.8], dtype=torch.float64))
    found = variance_bound(gamma, error, now, then)
    for sample in range(2):
        share, low, high = steps_of(now[sample], then[sample])
        std = low ** (1 - gamma[sample]) * high ** gamma[sample]
        mean = share * then.alpha[sample] * error[sample].float().double()
        expected = kl_divergence(Normal(torch.zeros_like(mean), low.expand_as(mean)), Normal(mean, std)) / math.log(2)
        torch.testing.assert_close(found[sample].double(), expected, rtol=1e-5, atol=1e-6)


def test_an_exact_estimate_has_the_posteriors_variance_and_the_last_step_none():
    now = Cosine().level(torch.tensor([0.5, 0.1]))
    then = level_before(now, Cosine(), 10)
    gamma = torch.zeros(SHAPE, requires_grad=True)
    found = variance_bound(gamma, torch.zeros(SHAPE), now, then)
    assert not found.any()
    error = normal(*SHAPE, dtype=torch.float32).requires_grad_()
    found = variance_bound(gamma, error, now, then)
    found.sum().backward()
    assert error.grad is None, "the mean learns from the squared error alone"
    assert bool(found[0].all())
    assert bool((gamma.grad[0] < 0).all()), "what is unsure of x0 wants a larger variance"
    assert not found[1].any()
    assert not gamma.grad[1].any()


def test_what_an_error_counts_is_bounded():
    """A network of x0 that knows nothing yet would else be told of nothing but variances near clean data."""
    now = Cosine().level(torch.tensor([0.004, 0.5]))
    then = level_before(now, Cosine(), 1000)
    gamma, error = torch.zeros(SHAPE), torch.ones(SHAPE)
    free, bounded = (variance_bound(gamma, error, now, then, most) for most in (math.inf, torch.tensor([25.0, 25.0])))
    assert float(free[0].min()) > 1000
    torch.testing.assert_close(bounded[0], torch.full_like(bounded[0], 12.5 / math.log(2)))
    assert torch.equal(bounded[1], free[1])


@pytest.mark.parametrize("schedule", [Cosine(), Tabulated(linear_alphas(20))], ids=["cosine", "linear"])
def test_the_least_bound_is_at_the_variance_of_the_chain_itself(schedule):
    """For Gaussian data both are known: q(z_s | z_t) of the whole data, not of one x0."""
    now = schedule.level(torch.tensor([0.4, 0.8]))
    then = level_before(now, schedule, 20)
    share, low, _ = steps_of(now, then)
    unsure = VARIANCE * now.sigma.square() / (VARIANCE * now.alpha.square() + now.sigma.square())
    true = low.square() + (share * then.alpha).square() * unsure
    best = (true / low.square()).log() / (2 * (now.sigma / then.sigma).log())
    assert bool(((best > 0) & (best < 1)).all()), "between posterior and forward chain"
    gamma = best[:, None, None, None, None].expand(SHAPE).clone().requires_grad_()
    error = unsure.sqrt()[:, None, None, None, None].expand(SHAPE)  # its square is what counts
    variance_bound(gamma, error, now, then).sum().backward()
    assert float(gamma.grad.abs().max()) < 1e-4


def test_ancestral_sampling_adds_the_variance_that_was_said():
    """A few steps on Gaussian data: with the true variance of every step the result has that of the last estimate."""
    schedule, steps = Cosine(), 6
    levels = stations(schedule, steps)
    asked, shape = [], (1000, 1, 1, 4, 4)

    def true_gamma():
        now, then = levels[len(asked)], levels[len(asked) + 1]
        asked.append(1)
        share, low, _ = steps_of(now, then)
        unsure = VARIANCE * now.sigma.square() / (VARIANCE * now.alpha.square() + now.sigma.square())
        wider = (share * then.alpha).square() * unsure / low.square()
        return (torch.log1p(wider) / (2 * (now.sigma / then.sigma).log())).expand(shape)

    def spread(gamma):
        noise = SampleNoise(0, range(shape[0]))
        z = start(noise.normal(shape[1:], "start").double(), levels)
        return float(ancestral(gaussian(VARIANCE), z, levels, noise.steps(shape[1:], "ancestral"), gamma).var())

    low, high, last = spread(0.0), spread(1.0), levels[-2]
    noisy = VARIANCE * last.alpha.square() + last.sigma.square()
    expected = float(VARIANCE**2 * last.alpha.square() / noisy)
    assert spread(true_gamma) == pytest.approx(expected, rel=0.03)
    assert low < 0.9 * expected
    assert high > 1.1 * expected
    assert spread(lambda: torch.zeros(shape)) == pytest.approx(low, rel=1e-6)


def test_a_network_says_both_and_samplers_see_the_prediction():
    prediction, gamma = halves(torch.cat([torch.full(SHAPE, 3.0), torch.full(SHAPE, -1.0)], dim=2))
    assert torch.equal(prediction, torch.full(SHAPE, 3.0))
    assert not gamma.any()
    network, objective, batch = system()
    z, conditions = torch.randn(2, 4, 48, 8, 8), Conditions()
    whole = network(z, torch.tensor([0.3, 0.6]), conditions)
    assert whole.shape[2] == 96
    assert torch.equal(Watching(network)(z, torch.tensor([0.3, 0.6]), conditions), whole[:, :, :48])
    plain, _, _ = system(steps=0)
    names = {name: p.shape for name, p in plain.named_parameters()}
    both = {name: p.shape for name, p in network.named_parameters()}
    assert names.keys() == both.keys()
    assert [name for name in names if names[name] != both[name]] == [
        "backbone.patches_out.weight",
        "backbone.patches_out.bias",
    ]
    assert objective("model", batch, 0).each.shape == (2,)


def system(steps: int = 1000):
    """Latte, with or without learned variances; every weight moved."""
    config = load("latte-nano", [f"diffusion.variance_steps={steps}"])
    autoencoder = autoencoder_of(config.autoencoder, torch.device("cpu"))
    network = seeded_network(config, autoencoder)
    for number, parameter in enumerate(network.parameters()):
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    video = torch.randint(0, 256, (2, 4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batch = VideoBatch(0, 2, (0, 1), ("a", "b"), video, None, ("", ""), {}, (None, None))
    return network, DiffusionObjective(config, network, autoencoder, torch.device("cpu")), batch


def test_a_teacher_is_asked_for_its_prediction(tiny_run: Path, tmp_path: Path):
    """A student of two steps of a model that says variances learns, and says them too."""
    latte = ("train", tiny_run, "--config", "latte-nano", "--device", "cpu", "--steps", 2)
    straight = ("--set", "sample.sampler=ddim", "--set", "train.validate_every=0")
    models(*latte, *straight, "--out", tmp_path / "teacher")
    learns = ("--set", "objective=distil", "--set", f"distil.teacher={tmp_path / 'teacher'}")
    models(*latte, *straight, *learns, "--out", tmp_path / "student")
    assert all(math.isfinite(loss) for loss in losses(tmp_path / "student"))


def test_the_prediction_learns_as_it_would_without():
    """The gradient of its half of the last layer is that of the squared error alone; the other half has one too."""
    network, objective, batch = system()
    plain, without, _ = system(steps=0)
    state = network.state_dict()
    half = {name: t.unflatten(0, (4, 96))[:, :48].flatten(0, 1) for name, t in state.items() if "patches_out" in name}
    plain.load_state_dict(state | half)
    for made in (objective, without):
        made("model", batch, 0).each.sum().backward()
    for kind in ("weight", "bias"):
        found, expected = (n.get_parameter(f"backbone.patches_out.{kind}").grad for n in (network, plain))
        rows = found.unflatten(0, (4, 96))
        torch.testing.assert_close(rows[:, :48].flatten(0, 1), expected, rtol=1e-4, atol=1e-6)
        assert rows[:, 48:].abs().max() > 0


def test_the_sampler_takes_the_learned_variance():
    network, _, _ = system()
    config = load("latte-nano")
    autoencoder = autoencoder_of(config.autoencoder, torch.device("cpu"))

    def latents(said: float, **sample: object) -> torch.Tensor:
        generator = Generator(
            network, autoencoder, Diffusion(config), replace(config.sample, **sample), torch.device("cpu")
        )
        weight, bias = (network.get_parameter(f"backbone.patches_out.{kind}").data for kind in ("weight", "bias"))
        weight.unflatten(0, (4, 96))[:, 48:] = 0
        bias.unflatten(0, (4, 96))[:, 48:] = said
        return generator.latents((4, 8, 8), Conditions(), SampleNoise(0, [0, 1]))

    low, high = latents(-1.0), latents(1.0)
    assert float((low - high).abs().max()) > 1e-2
    assert torch.equal(latents(-1.0, sampler="ddim"), latents(1.0, sampler="ddim")), "others do without"
    assert torch.equal(latents(-1.0, gamma=1.0), low), "sample.gamma is not read where variances are learned"
