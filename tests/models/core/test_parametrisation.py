"""What networks predict: every conversion is exact, and EDM's inputs and targets have unit variance."""

import pytest
import torch
from helpers.denoising_oracles import normal, one_thread  # noqa: F401

from clipmill.curate.errors import UserError
from clipmill.models.core.by_name import parametrisation_named
from clipmill.models.core.denoiser import branches_in_one_call, branches_one_by_one, denoiser, in_geometry
from clipmill.models.core.geometry import Geometry
from clipmill.models.core.noise_level import NoiseLevel, noised
from clipmill.models.core.parametrisation import Clean, Edm, Epsilon, FlowVelocity, V
from clipmill.models.core.schedules import Cosine, Flow, Karras

ALL = {
    "eps": Epsilon(),
    "x": Clean(),
    "v": V(),
    "flow": FlowVelocity(),
    "edm": Edm(),
    "edm, data 1.7": Edm(data_std=1.7),
}
SHAPE = (19, 2, 3, 4, 5)
X0, EPS = normal(*SHAPE, seed=1), normal(*SHAPE, seed=2)


def levels(geometry, steps=19):
    """Ratios of noise to signal from 1/50 to 50."""
    ratio = torch.logspace(-1.7, 1.7, steps, dtype=torch.float64)
    return geometry.level(torch.ones_like(ratio), ratio)


@pytest.mark.parametrize("geometry", Geometry)
@pytest.mark.parametrize("name", ALL)
def test_estimate_inverts_target(name, geometry):
    level = levels(geometry)
    z = noised(X0, EPS, level)
    found = ALL[name].estimate(ALL[name].target(X0, EPS, level), z, level)
    assert (found.x0 - X0).abs().max() < 1e-12 * 50
    assert (found.eps - EPS).abs().max() < 1e-12 * 50


@pytest.mark.parametrize("geometry", Geometry)
def test_predictions_convert_into_one_another(geometry):
    """Any prediction, right or wrong: said in all six ways, it is one belief about z; single precision to 1e-6 of its
    size.
    """
    level, z = levels(geometry), normal(*SHAPE, seed=3)
    for wide in (torch.float64, torch.float32):
        start = V().estimate(normal(*SHAPE, seed=4).to(wide), z.to(wide), level)
        for parametrisation in ALL.values():
            found = parametrisation.estimate(parametrisation.target(*start, level), z.to(wide), level)
            tolerance = 1e-12 if wide == torch.float64 else 1e-6
            for ours, wanted in zip(found, start, strict=True):
                assert ours.dtype == wide
                # What z hardly contains is recovered through it: the error grows with the ratio, at most 50 (squared
                # for scaled z).
                assert (ours - wanted).abs().max() < tolerance * 50 * max(
                    1, float(start.x0.abs().max()), float(z.abs().max())
                )


@pytest.mark.parametrize("name", ["v", "flow", "edm"])
def test_both_ends_are_finite(name):
    """Pure noise and clean data: what z holds comes back, and what it does not is the network's word."""
    parametrisation = ALL[name]
    for level in (NoiseLevel(*torch.tensor([0.0, 1.0]).double()), NoiseLevel(*torch.tensor([1.0, 0.0]).double())):
        z = noised(X0, EPS, level)
        found = parametrisation.estimate(parametrisation.target(X0, EPS, level), z, level)
        assert (found.x0 - X0).abs().max() < 1e-14
        assert (found.eps - EPS).abs().max() < 1e-14
        assert (noised(*found, level) - z).abs().max() < 1e-14


def test_v_is_the_angular_one():
    level = Cosine().level(torch.linspace(0, 1, 19))
    z, v = normal(*SHAPE, seed=5), normal(*SHAPE, seed=6)
    sine, cosine = (f(level.angle).reshape(-1, 1, 1, 1, 1) for f in (torch.sin, torch.cos))
    found = V().estimate(v, z, level)
    assert (found.x0 - (cosine * z - sine * v)).abs().max() < 1e-14
    assert (found.eps - (sine * z + cosine * v)).abs().max() < 1e-14
    step = 1e-6
    ahead = NoiseLevel((level.angle + step).cos(), (level.angle + step).sin())
    slope = (noised(X0, EPS, ahead) - noised(X0, EPS, level)) / step
    assert (V().target(X0, EPS, level) - slope).abs().max() < 1e-5


@pytest.mark.parametrize("data_std", [0.5, 1.0, 2.0])
def test_edm_is_table_1_of_karras(data_std):
    level = Karras().level(torch.linspace(0, 1, 19))
    edm, sigma = Edm(data_std=data_std), level.sigma
    one, zero = torch.ones(19, 1, 1, 1, 1, dtype=torch.float64), torch.zeros(19, 1, 1, 1, 1, dtype=torch.float64)
    root = (sigma**2 + data_std**2).sqrt()
    expected = {
        "c_skip": (edm.estimate(zero, one, level).x0, data_std**2 / root**2),
        "c_out": (edm.estimate(one, zero, level).x0, sigma * data_std / root),
        "c_in": (edm.network_input(one, level), 1 / root),
        "c_noise": (edm.network_level(level), sigma.log() / 4),
    }
    for name, (found, wanted) in expected.items():
        assert torch.allclose(found.flatten().double(), wanted, rtol=1e-6 if name == "c_noise" else 1e-12, atol=1e-7), (
            name
        )


def test_edm_has_unit_variance():
    """Of input and of target, at every level, in closed form and on 2e5 numbers."""
    for geometry in Geometry:
        level, edm = levels(geometry), Edm(data_std=0.5)
        a, b = edm.mixture(level)
        assert (a**2 * 0.25 + b**2 - 1).abs().max() < 1e-13
        x0, eps = normal(19, 1, 10_000, 1, 1, seed=7) * 0.5, normal(19, 1, 10_000, 1, 1, seed=8)
        for numbers in (edm.target(x0, eps, level), edm.network_input(noised(x0, eps, level), level)):
            assert (numbers.flatten(1).var(dim=1) - 1).abs().max() < 0.06


def test_edm_with_unit_data_is_minus_v_and_stable_video_s_is_v():
    level = levels(Geometry.EXPLODING)
    assert (Edm(data_std=1.0).target(X0, EPS, level) + V().target(X0, EPS, level)).abs().max() < 1e-13
    stable_video, sigma = V(coordinate="quarter-log"), level.sigma.reshape(-1, 1, 1, 1, 1)
    z, prediction = normal(*SHAPE, seed=9), normal(*SHAPE, seed=10)
    expected = z / (sigma**2 + 1) - sigma / (sigma**2 + 1).sqrt() * prediction
    assert (stable_video.estimate(prediction, z, level).x0 - expected).abs().max() < 1e-13
    assert torch.allclose(stable_video.network_level(level), (level.sigma.log() / 4).float())
    # The same network seen from the unit circle: same input, same prediction, same estimate.
    circle = Geometry.PRESERVING.level(level.alpha, level.sigma)
    own = stable_video.network_input(z, level)
    assert (V().estimate(prediction, own, circle).x0 - expected).abs().max() < 1e-12


def test_a_level_per_frame():
    time = torch.rand(19, 2, generator=torch.Generator().manual_seed(0)).double() * 0.9 + 0.05
    for parametrisation in ALL.values():
        whole = parametrisation.target(X0, EPS, Flow().level(time))
        for frame in (0, 1):
            alone = parametrisation.target(
                X0[:, frame : frame + 1], EPS[:, frame : frame + 1], Flow().level(time[:, frame])
            )
            assert torch.equal(whole[:, frame : frame + 1], alone)


def network(z, noise_level, conditioning):
    assert noise_level.dtype == torch.float32
    assert noise_level.shape == z.shape[:1]
    return (z * conditioning.reshape(-1, 1, 1, 1, 1) + noise_level.reshape(-1, 1, 1, 1, 1)).to(torch.bfloat16)


def test_the_network_is_told_a_level_per_sample_and_the_estimate_is_as_wide_as_z():
    z = normal(*SHAPE, seed=11, dtype=torch.float32)
    level = Cosine().level(torch.tensor(0.3))
    found = denoiser(network, V(), torch.ones(19))(z, level)
    assert found.x0.dtype == torch.float32
    said = (z + 0.3).to(torch.bfloat16).float()
    assert (found.x0 - (float(level.alpha) * z - float(level.sigma) * said)).abs().max() < 1e-6


def test_branches_in_one_call_are_those_one_by_one():
    z, level = normal(*SHAPE, seed=12), Cosine().level(torch.linspace(0.1, 0.9, 19))
    conditions = torch.linspace(-1, 1, 19), torch.full((19,), 0.25)
    for each in (level, level[4]):
        joined = branches_in_one_call(network, V(), torch.cat(conditions), 2)(z, each)
        apart = branches_one_by_one(*(denoiser(network, V(), c) for c in conditions))(z, each)
        for a, b in zip(joined, apart, strict=True):
            assert torch.equal(a.x0, b.x0)
            assert torch.equal(a.eps, b.eps)
    assert not torch.equal(joined[0].x0, joined[1].x0)


def test_another_geometry_is_another_scale_of_z():
    """A network trained on the circle, asked about z of the straight path."""
    inner = denoiser(network, V(), torch.ones(19))
    straight, circle = levels(Geometry.STRAIGHT), levels(Geometry.PRESERVING)
    found = in_geometry(inner, Geometry.PRESERVING)(noised(X0, EPS, straight), straight)
    expected = inner(noised(X0, EPS, circle), circle)
    # bfloat16 rounds the two inputs, equal to 1e-16, alike but for ties.
    assert (found.x0 - expected.x0).abs().max() < 0.05
    assert (found.x0 - expected.x0).abs().mean() < 1e-6


def test_parametrisations_by_name():
    assert parametrisation_named("edm", {"data_std": 1.0}) == Edm(data_std=1.0)
    assert parametrisation_named("v", {"coordinate": "quarter-log"}) == V("quarter-log")
    with pytest.raises(UserError, match="no parametrisation 'velocity'; there are eps, x, v, flow, edm"):
        parametrisation_named("velocity")
    with pytest.raises(UserError, match="over 0"):
        Edm(data_std=0)
