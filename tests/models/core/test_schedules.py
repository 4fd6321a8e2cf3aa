"""Schedules: closed forms, exact ends, one truth for steps and continuous time."""

import math

import pytest
import torch

from clipmill.curate.errors import UserError
from clipmill.models.core.by_name import schedule_named
from clipmill.models.core.geometry import Geometry
from clipmill.models.core.noise_level import NoiseLevel, noised
from clipmill.models.core.schedules import Cosine, Flow, Karras, Shifted, step_of_time, time_of_step
from clipmill.models.core.shift import linear_shift, square_root_shift
from clipmill.models.core.tabulated import Tabulated, linear_alphas, sqrt_linear_alphas, zero_terminal_alphas

TIMES = torch.linspace(0, 1, 997, dtype=torch.float64)
INSIDE = TIMES[1:-1]
SCHEDULES = {
    "cosine": Cosine(),
    "cosine with ends cut off": Cosine(20, -20),
    "cosine timing on the straight path": Cosine(geometry=Geometry.STRAIGHT),
    "linear": Tabulated(linear_alphas()),
    "linear, zero terminal": Tabulated(zero_terminal_alphas(linear_alphas())),
    "sqrt-linear": Tabulated(sqrt_linear_alphas()),
    "one step": Tabulated(torch.tensor([0.5])),
    "karras": Karras(),
    "karras, variance preserving": Karras(geometry=Geometry.PRESERVING),
    "flow": Flow(),
    "shifted flow": Shifted(Flow(), 3.0),
    "shifted cosine": Shifted(Cosine(), 0.25),
    "shifted table": Shifted(Tabulated(sqrt_linear_alphas()), 4.0),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_noise_rises_on_the_geometry_s_curve_and_time_comes_back(name):
    schedule = SCHEDULES[name]
    level = schedule.level(TIMES)
    assert level.alpha.dtype == level.sigma.dtype == torch.float64
    assert bool((level.angle.diff() > 0).all())
    constant = {
        Geometry.PRESERVING: level.alpha**2 + level.sigma**2,
        Geometry.STRAIGHT: level.alpha + level.sigma,
        Geometry.EXPLODING: level.alpha,
    }[schedule.geometry]
    assert (constant - 1).abs().max() < 1e-14
    assert (schedule.time_of(level) - TIMES).abs().max() < 1e-9
    assert schedule.level(TIMES.reshape(1, -1)).sigma.shape == (1, 997)


@pytest.mark.parametrize("name", [name for name in SCHEDULES if "karras" not in name and "cut off" not in name])
def test_ends_are_exact(name):
    """In float32 too, where the cosine of a rounded pi / 2 is -4e-8."""
    level = SCHEDULES[name].level(torch.tensor([0.0, 1.0]))
    assert float(level.sigma[0]) == 0
    assert float(level.alpha[0]) == 1
    if name in (
        "cosine",
        "cosine timing on the straight path",
        "linear, zero terminal",
        "flow",
        "shifted flow",
        "shifted cosine",
    ):
        assert float(level.alpha[1]) == 0
        assert float(level.sigma[1]) == 1
        eps = torch.randn(2, 3, 1, 2, 2)
        assert torch.equal(noised(torch.full_like(eps, 1e6), eps, level[1]), eps)


def test_closed_forms():
    cosine, flow = Cosine().level(INSIDE), Flow().level(INSIDE)
    assert (cosine.alpha - (math.pi * INSIDE / 2).cos()).abs().max() < 1e-15
    assert (cosine.log_snr + 2 * (math.pi * INSIDE / 2).tan().log()).abs().max() < 1e-11
    assert (flow.sigma - INSIDE).abs().max() < 1e-15
    cut = Cosine(20, -20).level(torch.tensor([0.0, 0.5, 1.0]))
    assert cut.log_snr.tolist() == pytest.approx([20, 0, -20], abs=1e-9)
    first, last = math.atan(math.exp(-10)), math.atan(math.exp(10))
    assert (Cosine(20, -20).level(INSIDE).angle - (first + INSIDE * (last - first))).abs().max() < 1e-12


def test_karras_levels_are_those_of_the_paper():
    steps = 18
    expected = [(80 ** (1 / 7) + i / (steps - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(steps)]
    found = Karras().level(torch.linspace(1, 0, steps, dtype=torch.float64))
    assert found.sigma.tolist() == pytest.approx(expected, rel=1e-12)
    assert bool((found.alpha == 1).all())


def test_tables_are_those_of_the_papers():
    for alphas, betas, terminal in (
        (linear_alphas(), [1e-4 + i / 999 * (0.02 - 1e-4) for i in range(1000)], 4.036e-5),
        (
            sqrt_linear_alphas(),
            [(0.00085**0.5 + i / 999 * (0.012**0.5 - 0.00085**0.5)) ** 2 for i in range(1000)],
            4.66e-3,
        ),
    ):
        product, expected = 1.0, []
        for beta in betas:
            product *= 1 - beta
            expected.append(math.sqrt(product))
        assert alphas.tolist() == pytest.approx(expected, rel=1e-10)
        assert float(alphas[-1]) ** 2 == pytest.approx(terminal, rel=1e-3)


@pytest.mark.parametrize("alphas", [linear_alphas(), sqrt_linear_alphas(50), zero_terminal_alphas(linear_alphas(7))])
def test_steps_and_continuous_time_are_one_schedule(alphas):
    steps = torch.arange(len(alphas))
    level = Tabulated(alphas).level(time_of_step(steps, len(alphas)))
    assert (level.alpha - alphas).abs().max() < 1e-12
    assert (level.sigma - (1 - alphas**2).sqrt()).abs().max() < 1e-12
    between = Tabulated(alphas).level(time_of_step(steps[:-1], len(alphas)) + 0.5 / len(alphas))
    assert (between.angle - (level.angle[:-1] + level.angle[1:]) / 2).abs().max() < 1e-12


def test_every_step_has_its_time():
    for count in (1, 2, 3, 7, 49, 100, 999, 1000, 4001):
        steps = torch.arange(count)
        assert torch.equal(step_of_time(time_of_step(steps, count), count), steps)
        assert torch.equal(step_of_time(time_of_step(steps, count) - 0.5 / count, count), steps)
        assert float(time_of_step(steps[-1:], count)) == 1
    assert int(step_of_time(torch.zeros(1), 1000)) == 0


def test_zero_terminal_snr():
    plain = sqrt_linear_alphas()
    stretched = zero_terminal_alphas(plain)
    assert float(stretched[-1]) == 0
    assert float(stretched[0]) == pytest.approx(float(plain[0]), rel=1e-15)
    # The published algorithm, on roots of cumulated products.
    expected = (plain - plain[-1]) * plain[0] / (plain[0] - plain[-1])
    assert torch.allclose(stretched, expected, rtol=1e-13, atol=0)
    level = Tabulated(stretched).level(torch.ones(1))
    assert float(level.alpha) == 0
    assert float(level.snr) == 0


@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
def test_a_shift_moves_the_log_snr(ratio):
    for base in (Cosine(), Flow(), Karras(), Tabulated(linear_alphas())):
        moved = Shifted(base, ratio).level(INSIDE).log_snr - base.level(INSIDE).log_snr
        assert (moved + 2 * math.log(ratio)).abs().max() < 1e-9
    formula = ratio * INSIDE / (1 + (ratio - 1) * INSIDE)
    assert (Shifted(Flow(), ratio).level(INSIDE).sigma - formula).abs().max() < 1e-14


def test_shift_rules():
    assert square_root_shift(64 * 64, 32 * 32) == 2
    assert linear_shift(256, 1) == 1
    assert linear_shift(4096, 1) == 3
    assert linear_shift(4096, 16) == 12
    assert linear_shift(2176, 1) == pytest.approx(2)


def test_coordinates_are_finite_where_they_say_so():
    ends = NoiseLevel(torch.tensor([1.0, 0.0], dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64))
    assert ends.coordinate("angle").tolist() == [0, 1]
    assert ends.coordinate("time").tolist() == [0, 1]
    assert Cosine().level(INSIDE).coordinate("angle").tolist() == pytest.approx(INSIDE.tolist(), abs=1e-7)
    assert Flow().level(INSIDE).coordinate("time").tolist() == pytest.approx(INSIDE.tolist(), abs=1e-7)
    karras = Karras().level(INSIDE)
    assert karras.coordinate("quarter-log").tolist() == pytest.approx((karras.sigma.log() / 4).tolist(), rel=1e-6)
    for name, schedule in SCHEDULES.items():
        level = schedule.level(INSIDE)
        for coordinate in ("angle", "time", "quarter-log"):
            value = level.coordinate(coordinate)
            assert value.dtype == torch.float32
            assert bool((value.diff() >= 0).all()), (name, coordinate)
            # The scale of z is not noise.
            assert (NoiseLevel(level.alpha * 3, level.sigma * 3).coordinate(coordinate) - value).abs().max() < 1e-6
        assert torch.allclose(level.coordinate("quarter-log").double(), -level.log_snr / 8, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Karras(sigma_min=0), "rise from sigma_min"),
        (lambda: Shifted(Flow(), 0), "over 0"),
        (lambda: Tabulated(torch.tensor([0.1, 0.5])), "fall"),
        (lambda: Tabulated(torch.tensor([])), "fall"),
        (lambda: Tabulated(torch.tensor([0.5, math.nan])), "fall"),
        (lambda: linear_alphas(10, 0.1, 1.5), "betas"),
        (lambda: schedule_named("cosin"), "no schedule 'cosin'; there are cosine, linear"),
        (lambda: schedule_named("karras", {"sigma": 3}), "no option 'sigma'; it has sigma_min"),
    ],
)
def test_wrong_schedules_are_one_line(make, says):
    with pytest.raises(UserError, match=says):
        make()


def test_schedules_by_name():
    assert schedule_named("flow", shift=3.0) == Shifted(Flow(), 3.0)
    assert schedule_named("karras", {"sigma_max": 700.0}) == Karras(sigma_max=700.0)
    assert float(schedule_named("sqrt-linear", {"zero_terminal": True}).level(torch.ones(())).alpha) == 0
    assert float(schedule_named("linear").level(torch.ones(())).snr) == pytest.approx(4.036e-5, rel=1e-3)
