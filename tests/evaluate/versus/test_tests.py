"""Tests of a difference: uniform where there is none, as powerful as said where there is one, error bars that hold."""

import numpy as np
import pytest
from scipy import stats

from clipmill.evaluate.distances.frechet import frechet_distance
from clipmill.evaluate.distances.mmd import PolynomialKernel, polynomial_mmd
from clipmill.evaluate.versus.differences import AnyDifference, FrechetDifference, KernelDifference, MeanDifference
from clipmill.evaluate.versus.jackknife import standard_error
from clipmill.evaluate.versus.matching import Units
from clipmill.evaluate.versus.permutation import permuted
from clipmill.evaluate.versus.power import clips_needed, power_of, visible_difference

DIM = 16
WAYS = (("frechet", True), ("kernel", False), ("mean", True), ("mean from real", False))


def units(count: int, each: int, paired: bool) -> Units:
    """`count` units of `each` clips on either side."""
    rows, codes = np.arange(count * each), np.arange(count * each) // each
    return Units(rows, rows, codes, codes, paired, "", (0, 0))


def drawn(seed: int, count: int, each: int, paired: bool, shift: float = 0.0) -> tuple[np.ndarray, ...]:
    """Features of A and B, [count * each, DIM] each, and of real clips, which lie elsewhere. Clips of a unit share what
    comes of their source; paired units share some of it between A and B, too. shift: of B, along all axes.
    """
    rng = np.random.default_rng(seed)
    sources = rng.standard_normal((3, count, DIM))
    sets = []
    for k in range(2):
        shared = np.repeat(0.6 * sources[2 if paired else k] + 0.5 * sources[k], each, axis=0)
        sets.append(shared + 0.6 * rng.standard_normal((count * each, DIM)))
    return sets[0], sets[1] + shift, 1.2 * rng.standard_normal((3 * count, DIM)) + 0.5


def difference(kind: str, a: np.ndarray, b: np.ndarray, real: np.ndarray):
    pool = np.concatenate([a, b])
    if kind == "frechet":
        return FrechetDifference(pool, real)
    if kind == "kernel":
        return KernelDifference(pool, real, PolynomialKernel())
    return MeanDifference(pool[:, 0], real[:, 0] if kind == "mean from real" else None)


@pytest.mark.parametrize(("kind", "paired"), WAYS)
@pytest.mark.slow
def test_p_values_are_uniform_where_there_is_no_difference(kind, paired):
    """At 16 dimensions, of clips that come in pairs from one source."""
    known = units(12, 2, paired)
    rng = np.random.default_rng(1)
    found = []
    for seed in range(500):
        sets = drawn(seed, 12, 2, paired)
        found.append(permuted(difference(kind, *sets), known, 24, 19, seed).randomised(rng.uniform()))
    assert stats.kstest(found, "uniform").pvalue > 0.01


@pytest.mark.slow
def test_clips_of_one_source_that_are_taken_as_independent_find_what_is_not_there():
    alone = Units(np.arange(48), np.arange(48), np.arange(48), np.arange(48), False, "", (0, 0))
    found = [
        permuted(difference("mean", *drawn(seed, 12, 4, False)), alone, 48, 19, seed).randomised(0.5)
        for seed in range(200)
    ]
    assert np.mean(np.array(found) < 0.1) > 0.2


def test_a_p_value_is_that_of_scipy():
    a, b, real = drawn(3, 12, 1, True, 0.35)
    exact = stats.permutation_test(
        (a[:, 0], b[:, 0]), lambda x, y: x.mean() - y.mean(), permutation_type="samples", n_resamples=np.inf
    )
    found = permuted(difference("mean", a, b, real), units(12, 1, True), 12, 1999, 0)
    assert found.p_value == pytest.approx(exact.pvalue, abs=0.03)
    assert 0.01 < exact.pvalue < 0.5
    apart = stats.permutation_test((a[:, 0], b[:, 0]), lambda x, y: x.mean() - y.mean(), n_resamples=1999, rng=0)
    assert permuted(difference("mean", a, b, real), units(12, 1, False), 12, 1999, 0).p_value == pytest.approx(
        apart.pvalue, abs=0.03
    )


def test_a_difference_is_that_of_two_distances():
    a, b, real = drawn(0, 20, 1, True, 0.4)
    first, second, some = np.arange(3, 20), np.arange(20, 36), np.arange(5, 50)
    pool = np.concatenate([a, b])
    for kind, distance in (("frechet", frechet_distance), ("kernel", polynomial_mmd)):
        known = difference(kind, a, b, real)
        for chosen in (None, some):
            to = real if chosen is None else real[chosen]
            expected = distance(to, pool[first]) - distance(to, pool[second])
            assert known.between(first, second, chosen) == pytest.approx(expected, rel=1e-8)
        assert known.alone(first) == pytest.approx(distance(real, pool[first]), rel=1e-8)
    whole = AnyDifference(pool, real, polynomial_mmd)
    assert whole.between(first, second) == pytest.approx(difference("kernel", a, b, real).between(first, second))


@pytest.mark.parametrize(("kind", "paired"), WAYS)
@pytest.mark.slow
def test_a_difference_scatters_as_its_error_bar_says(kind, paired):
    """Over fresh draws, with three clips of each source."""
    known, real_codes = units(24, 3, paired), np.arange(72)
    spread, errors = [], []
    for seed in range(300):
        a, b, real = drawn(seed, 24, 3, paired, 0.3)
        real = drawn(0, 24, 3, paired)[2] if kind == "kernel" else real  # these are given, as to a test
        sets = a, b, real + 2 * (kind == "mean from real")  # no mean lies on either side of it by chance
        one = difference(kind, *sets)
        spread.append(one.between(known.rows_a, known.rows_b + 72))
        if seed < 6 or "mean" in kind:
            codes = None if kind in ("mean", "kernel") else real_codes
            errors.append(standard_error(one, known, 72, codes, seed))
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(spread, ddof=1), rel=0.2)


def test_pairs_are_worth_their_while():
    a, b, real = drawn(0, 24, 3, True, 0.3)
    one = difference("kernel", a, b, real)
    paired = standard_error(one, units(24, 3, True), 72, None, 0)
    assert paired < 0.9 * standard_error(one, units(24, 3, False), 72, None, 0)


def test_no_error_bar_of_few_units_and_of_metrics_that_are_not_known():
    a, b, real = drawn(0, 7, 4, True)
    assert standard_error(difference("kernel", a, b, real), units(7, 4, True), 28, None, 0) is None
    other = AnyDifference(np.concatenate([a, b]), real, polynomial_mmd)
    assert standard_error(other, units(28, 1, True), 28, None, 0) is None


@pytest.mark.slow
def test_the_clips_that_a_difference_needs_are_enough():
    """What 24 pairs say of the clips that it takes, against tests with so many."""
    shift = 0.25
    pilot = [drawn(seed, 24, 1, True, shift) for seed in range(40)]
    known = units(24, 1, True)
    single = [difference("mean", *sets) for sets in pilot]
    error = np.sqrt(np.mean([standard_error(one, known, 24, None, 0) ** 2 for one in single]))
    needed = clips_needed(shift, error, 24)
    enough = units(needed, 1, True)
    found = [
        permuted(difference("mean", *drawn(5000 + k, needed, 1, True, shift)), enough, needed, 79, k).p_value <= 0.05
        for k in range(300)
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.1)
    assert power_of(visible_difference(error), error) == pytest.approx(0.8, abs=1e-3)
    assert power_of(0, 1) == pytest.approx(0.05, abs=1e-9)
