"""Samplers with estimates that are right by mathematics: what is left is the sampler's own error."""

import math

import pytest
import torch
from helpers.denoising_oracles import fresh_noise, gaussian, normal, one_thread, point_mass, through, two_points  # noqa: F401

from clipmill.curate.errors import UserError
from clipmill.models.core.denoiser import denoiser, in_geometry
from clipmill.models.core.geometry import Geometry
from clipmill.models.core.noise_level import NoiseLevel
from clipmill.models.core.parametrisation import Clean, Edm, Epsilon, FlowVelocity, V
from clipmill.models.core.samplers.ancestral import ancestral
from clipmill.models.core.samplers.ddim import ddim, ddim_inversion
from clipmill.models.core.samplers.edm import Churn, edm_euler, edm_heun
from clipmill.models.core.samplers.flow import flow_euler, flow_heun
from clipmill.models.core.sampling_levels import start, stations, step_at, steps_of
from clipmill.models.core.schedules import Cosine, Flow, Karras, Shifted
from clipmill.models.core.tabulated import Tabulated, linear_alphas, sqrt_linear_alphas, zero_terminal_alphas

SHAPE = (2, 3, 4, 5, 6)
VARIANCE = 0.25
SAMPLERS = {
    "ddim": (ddim, Cosine()),
    "ddim, zero terminal table": (ddim, Tabulated(zero_terminal_alphas(sqrt_linear_alphas()))),
    "ddim, table": (ddim, Tabulated(linear_alphas())),
    "ancestral": (lambda d, z, levels: ancestral(d, z, levels, fresh_noise(SHAPE)), Cosine()),
    "ancestral, gamma 1": (lambda d, z, levels: ancestral(d, z, levels, fresh_noise(SHAPE), gamma=1.0), Cosine()),
    "edm_euler": (edm_euler, Karras()),
    "edm_heun": (edm_heun, Karras()),
    "edm_heun, churn": (lambda d, z, levels: edm_heun(d, z, levels, Churn(40), fresh_noise(SHAPE)), Karras()),
    "flow_euler": (flow_euler, Flow()),
    "flow_heun": (flow_heun, Flow()),
    "flow_heun, shifted": (flow_heun, Shifted(Flow(), 3.0)),
}


def relative_error(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
@pytest.mark.parametrize("parametrisation", [V(), FlowVelocity(), Edm(), Clean()])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_point_mass_is_found_in_any_number_of_steps(name, parametrisation, steps):
    sampler, schedule = SAMPLERS[name]
    x, levels = normal(*SHAPE, seed=1), stations(schedule, steps)
    found = sampler(through(parametrisation, point_mass(x)), start(normal(*SHAPE), levels), levels)
    assert (found - x).abs().max() < 1e-11


def test_a_network_that_predicts_v():
    """The whole chain: the network is told 2 phi / pi in single precision, and says v of a point mass."""
    x, levels = normal(*SHAPE, seed=1), stations(Cosine(), 5)

    def network(z, noise_level, conditioning):
        angle = (noise_level.double() * (math.pi / 2)).reshape(-1, 1, 1, 1, 1)
        eps = (z - angle.cos() * conditioning) / angle.sin()
        return angle.cos() * eps - angle.sin() * conditioning

    assert (ddim(denoiser(network, V(), x), normal(*SHAPE), levels) - x).abs().max() < 1e-6


def test_ddim_on_a_gaussian_has_the_known_error():
    """Exact would be sqrt(variance) times the noise."""
    eps, errors = normal(*SHAPE), []
    for steps in (8, 32, 64, 128):
        errors.append(
            relative_error(
                ddim(through(V(), gaussian(VARIANCE)), eps, stations(Cosine(), steps)), math.sqrt(VARIANCE) * eps
            )
        )
    assert errors == pytest.approx([0.177, 0.047, 0.0238, 0.0120], abs=6e-4)


@pytest.mark.parametrize(
    ("sampler", "schedule", "order"),
    [
        (ddim, Cosine(), 1),
        (edm_euler, Karras(), 1),
        (edm_heun, Karras(), 2),
        (flow_euler, Flow(), 1),
        (flow_heun, Flow(), 2),
    ],
)
def test_orders_of_convergence(sampler, schedule, order):
    """Twice the steps: half the error, or a quarter. From sigma_max = 80 the exact end is not quite sqrt(variance)
    times the noise.
    """
    errors = []
    for steps in (64, 128):
        levels = stations(schedule, steps)
        z = start(normal(*SHAPE), levels)
        exact = (
            math.sqrt(VARIANCE) * z / math.sqrt(VARIANCE * float(levels.alpha[0]) ** 2 + float(levels.sigma[0]) ** 2)
        )
        errors.append(relative_error(sampler(gaussian(VARIANCE), z, levels), exact))
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.08)
    assert errors[1] < (0.03 if order == 1 else 1.5e-3)


def test_the_deterministic_step_is_one_in_every_geometry():
    """DDIM on the circle, Euler in sigma, Euler along the straight path: the same numbers from the same levels."""
    levels = stations(Cosine(12, -12), 9)
    ddim_levels = NoiseLevel(
        torch.cat([levels.alpha, torch.ones(1).double()]), torch.cat([levels.sigma, torch.zeros(1).double()])
    )
    ddim_levels = levels if float(levels.sigma[-1]) == 0 else ddim_levels
    denoise, eps = two_points(1.0, 0.1), normal(*SHAPE)
    found = []
    for sampler, geometry in (
        (ddim, Geometry.PRESERVING),
        (edm_euler, Geometry.EXPLODING),
        (flow_euler, Geometry.STRAIGHT),
    ):
        own = geometry.level(ddim_levels.alpha, ddim_levels.sigma)
        found.append(sampler(in_geometry(denoise, Geometry.PRESERVING), start(eps, own), own))
    # All start from noise alone at the same ratio, so from the same point.
    for other in found[1:]:
        assert (other - found[0]).abs().max() < 1e-11


def test_the_rotation_is_the_published_step():
    denoise, levels, z = two_points(1.0, 0.1), stations(Cosine(), 7), normal(*SHAPE)
    for _, now, then in steps_of(levels):
        estimate = denoise(z, now)
        expected = then.alpha * estimate.x0 + then.sigma * estimate.eps
        z = ddim(denoise, z, NoiseLevel(torch.stack([now.alpha, then.alpha]), torch.stack([now.sigma, then.sigma])))
        assert (z - expected).abs().max() < 1e-14


@pytest.mark.parametrize("denoise", [gaussian(VARIANCE), two_points(1.0, 0.25)])
def test_inversion_comes_back(denoise):
    """One iteration: first order. Solved to the end: exact, up to rounding, in few steps too."""
    x = normal(*SHAPE, seed=3) * 0.5
    errors = []
    for steps in (32, 64, 128):
        levels = stations(Cosine(), steps)
        errors.append(relative_error(ddim(denoise, ddim_inversion(denoise, x, levels), levels), x))
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.25)
    assert errors[1] / errors[2] == pytest.approx(2, rel=0.15)
    assert errors[2] < 0.05
    levels = stations(Cosine(), 16)
    solved = ddim_inversion(denoise, x, levels, iterations=60)
    assert relative_error(ddim(denoise, solved, levels), x) < 1e-10
    few = [relative_error(ddim(denoise, ddim_inversion(denoise, x, levels, n), levels), x) for n in (1, 2, 3)]
    assert few[0] > 2 * few[1] > 4 * few[2]


def test_inversion_of_a_gaussian_ends_in_its_noise():
    x = normal(*SHAPE, seed=3) * 0.5
    z = ddim_inversion(gaussian(VARIANCE), x, stations(Cosine(), 256), iterations=3)
    assert relative_error(z, x / 0.5) < 0.01


def test_ancestral_step_is_the_posterior():
    """Mean and variance of q(z_s | z_t, x0) as a product of two Gaussians, for gamma 0; the forward chain's variance
    for gamma 1.
    """
    now, then = Cosine().level(torch.tensor(0.7)), Cosine().level(torch.tensor(0.6))
    levels = NoiseLevel(torch.stack([now.alpha, then.alpha]), torch.stack([now.sigma, then.sigma]))
    z, x = normal(*SHAPE), normal(*SHAPE, seed=1)
    alpha = now.alpha / then.alpha
    forward = now.sigma**2 - alpha**2 * then.sigma**2
    posterior = 1 / (1 / then.sigma**2 + alpha**2 / forward)
    mean = posterior * (then.alpha * x / then.sigma**2 + alpha * z / forward)
    ones = torch.ones(SHAPE, dtype=torch.float64)
    for gamma, std in ((0.0, posterior.sqrt()), (1.0, forward.sqrt()), (0.3, posterior**0.35 * forward**0.15)):
        found = ancestral(point_mass(x), z, levels, lambda step: ones, gamma)
        assert (found - mean - std).abs().max() < 1e-13


def exact_variance(sampler, levels):
    """Of samples of a linear sampler, without drawing any: sample i of the batch has a 1 in the i-th random number and
    0 in all others.
    """
    impulses = torch.eye(len(levels), dtype=torch.float64).reshape(len(levels), -1, 1, 1, 1, 1)
    return float(
        sampler(gaussian(VARIANCE), start(impulses[0], levels), levels, lambda step: impulses[step + 1]).square().sum()
    )


@pytest.mark.parametrize(("gamma", "sign"), [(0.0, -1), (1.0, 1)])
def test_ancestral_samples_have_the_data_s_variance(gamma, sign):
    """gamma 0 is short of it and gamma 1 over, by O(1 / N)."""
    off = []
    for steps in (128, 256):
        variance = exact_variance(
            lambda d, z, levels, noise: ancestral(d, z, levels, noise, gamma), stations(Cosine(), steps)
        )
        off.append(sign * (variance / VARIANCE - 1))
    assert off[0] / off[1] == pytest.approx(2, rel=0.08)
    assert 0 < off[1] < 0.03


@pytest.mark.parametrize(("sampler", "order", "bound"), [(edm_euler, 1, 0.07), (edm_heun, 2, 0.004)])
def test_churn_keeps_the_distribution(sampler, order, bound):
    """Much of the noise is exchanged on the way, and the variance stays: up to the order of the sampler."""
    off = []
    for steps in (128, 256):
        variance = exact_variance(
            lambda d, z, levels, noise: sampler(d, z, levels, Churn(20), noise), stations(Karras(), steps)
        )
        off.append(variance / VARIANCE - 1)
    assert off[0] / off[1] == pytest.approx(2**order, rel=0.1)
    assert abs(off[1]) < bound


def test_churn_exchanges_noise_inside_its_bounds_only():
    levels = stations(Karras(), 32)
    z, other = (start(normal(200, 1, 1, 1, 1, seed=seed), levels) for seed in (6, 8))
    plain = edm_heun(gaussian(VARIANCE), z, levels)
    for amount, low, high in ((5, 0.0, 0.3), (0.02, 0.8, 1.0)):
        churned = edm_heun(
            gaussian(VARIANCE), z, levels, Churn(amount), lambda step: normal(200, 1, 1, 1, 1, seed=100 + step)
        )
        assert low - 0.3 < float(torch.corrcoef(torch.stack([churned.flatten(), plain.flatten()]))[0, 1]) <= high
    outside = Churn(20, sigma_min=1e3, sigma_max=1e4)
    assert torch.equal(edm_heun(gaussian(VARIANCE), z, levels, outside, lambda step: other), plain)
    assert torch.equal(edm_heun(gaussian(VARIANCE), z, levels, Churn()), plain)


def test_churn_factor_is_the_paper_s():
    assert Churn(80, 0.05, 50).factor(1.0, 256) == 1 + 80 / 256
    assert Churn(80, 0.05, 50).factor(1.0, 10) == math.sqrt(2)
    assert Churn(80, 0.05, 50).factor(51.0, 256) == 1


def test_zero_terminal_snr_matters():
    """Pictures far from mean zero: the usual table's last step still holds some of them, which sampling from pure noise
    leaves out.
    """
    mean = torch.full(SHAPE, 3.0, dtype=torch.float64)

    def bright(z, level):
        inner = gaussian(0.01)(z - level.alpha * mean, level)
        return type(inner)(inner.x0 + mean, inner.eps)

    exact, short = (
        ddim(bright, normal(*SHAPE), stations(Tabulated(alphas), 50)).mean().item()
        for alphas in (zero_terminal_alphas(sqrt_linear_alphas()), sqrt_linear_alphas())
    )
    assert exact == pytest.approx(3, abs=0.005)
    assert abs(short - 3) > 0.01


@pytest.mark.parametrize("name", SAMPLERS)
def test_calls_dtype_and_gradients(name):
    sampler, schedule = SAMPLERS[name]
    steps, asked = 6, []

    def counted(z, level):
        asked.append(float(level.angle))
        assert z.dtype == torch.float32
        return gaussian(VARIANCE)(z, level)

    levels = stations(schedule, steps)
    found = sampler(counted, start(normal(*SHAPE, dtype=torch.float32).requires_grad_(), levels), levels)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert len(asked) == (2 * steps - 1 if "heun" in name else steps)
    assert min(asked) > 0


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_sampler_waits_for_the_device(name):
    """On a device without numbers: noise levels stay on the CPU, and no decision is read from z."""
    sampler, schedule = SAMPLERS[name]
    levels = stations(schedule, 3)
    denoise = denoiser(lambda z, noise_level, conditioning: z * noise_level.reshape(-1, 1, 1, 1, 1), V(), None)
    found = sampler(denoise, torch.empty(SHAPE, device="meta"), levels)
    assert (found.device.type, found.dtype, tuple(found.shape)) == ("meta", torch.float32, SHAPE)


def test_stations():
    for schedule in (Cosine(), Flow(), Karras(), Tabulated(linear_alphas())):
        for steps in (1, 2, 25):
            levels = stations(schedule, steps)
            assert len(levels) == steps + 1
            assert bool((levels.angle.diff() < 0).all())
            assert (float(levels.alpha[-1]), float(levels.sigma[-1])) == (1, 0)
            assert float(levels.sigma[0]) == float(schedule.level(torch.ones(())).sigma)
    trailing = stations(Tabulated(linear_alphas()), 10)
    assert (
        trailing.alpha[:-1] - linear_alphas()[[999, 899, 799, 699, 599, 499, 399, 299, 199, 99]]
    ).abs().max() < 1e-12
    levels = stations(Karras(), 5)
    assert [step_at(levels, levels[i]) for i in range(6)] == [0, 1, 2, 3, 4, 4]
    assert (
        step_at(levels, Geometry.EXPLODING.level(torch.ones(3), torch.full((3,), float(levels.sigma[2]) * 1.01))) == 2
    )


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda z: stations(Cosine(), 0), "one step or more"),
        (lambda z: ddim(gaussian(1), z, stations(Flow(), 4)), "must be 1"),
        (lambda z: edm_heun(gaussian(1), z, stations(Flow(), 4)), "alpha = 1"),
        (lambda z: flow_euler(gaussian(1), z, stations(Cosine(), 4)), "alpha \\+ sigma = 1"),
        (lambda z: edm_euler(gaussian(1), z, stations(Karras(), 4), Churn(10)), "source of noise"),
        (lambda z: ddim_inversion(gaussian(1), z, stations(Cosine(), 1)), "two steps"),
    ],
)
def test_wrong_sampling_is_one_line(call, says):
    with pytest.raises(UserError, match=says):
        call(normal(*SHAPE))


def test_eps_prediction_needs_some_signal():
    """With it everything but pure noise works; from pure noise the answer is not finite, and not silently something
    else.
    """
    x, denoise = normal(*SHAPE, seed=1), through(Epsilon(), point_mass(normal(*SHAPE, seed=1)))
    assert (ddim(denoise, normal(*SHAPE), stations(Tabulated(linear_alphas()), 5)) - x).abs().max() < 1e-9
    assert not ddim(denoise, normal(*SHAPE), stations(Cosine(), 5)).isfinite().any()
