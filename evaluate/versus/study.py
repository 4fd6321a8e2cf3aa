"""Several sets against the same real clips: each two of them by each metric, and what can be told apart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from clipmill.curate.errors import UserError
from clipmill.evaluate.distances.error_bar import one_thread
from clipmill.evaluate.distances.grouped import group_codes
from clipmill.evaluate.distances.mmd import PolynomialKernel
from clipmill.evaluate.evaluation import Gathered, titled
from clipmill.evaluate.extraction.measure import Measured
from clipmill.evaluate.metrics import FeatureMetric
from clipmill.evaluate.metrics.fvd import FVD
from clipmill.evaluate.metrics.kvd import KVD
from clipmill.evaluate.versus.differences import (
    AnyDifference,
    Difference,
    FrechetDifference,
    KernelDifference,
    MeanDifference,
)
from clipmill.evaluate.versus.jackknife import standard_error
from clipmill.evaluate.versus.matching import By, Units, matched
from clipmill.evaluate.versus.permutation import permuted
from clipmill.evaluate.versus.ranking import holm


@dataclass(frozen=True)
class Settings:
    """pair: what makes a pair, see `matched`. draws: permutations of each test. seed: of every random choice.
    fixed_real: whether error bars are those of the test, to which the real clips are given, or count their chance too.
    """

    pair: By = "auto"
    draws: int = 999
    seed: int = 0
    fixed_real: bool = False


@dataclass(frozen=True)
class Test:
    """One metric of two sets. values: of either, on the clips that are compared. difference: the first less the second.
    better: 1 where a lower, -1 where a higher value is better, 0 where neither is; of metrics that are compared by
    their distance from the real value it is 1, and `values` are those distances. p_value: of the permutation test;
    corrected: for all tests of the study. standard_error: of the difference, None where none can be given.
    """

    metric: str
    title: str
    unit: str
    names: tuple[str, str]
    values: tuple[float, float]
    difference: float
    standard_error: float | None
    better: int
    p_value: float
    corrected: float
    units: Units
    n_real: int
    from_real: bool = False


def tests(
    names: Sequence[str],
    sets: Sequence[Sequence[Gathered]],
    settings: Settings,
    tick: Callable[[], None],
) -> tuple[list[Test], dict[str, str]]:
    """Every two sets by every metric, p-values corrected for all of them (Holm), and the metrics that cannot be tested,
    with the reason. names, sets: of each set what was gathered, the same metrics in the same order.
    """
    found: list[Test] = []
    problems: dict[str, str] = {}
    for of_metric in zip(*sets, strict=True):
        try:
            with one_thread():
                found += [
                    _test((names[i], names[j]), of_metric[i], of_metric[j], settings, tick)
                    for i, j in combinations(range(len(names)), 2)
                ]
        except UserError as error:
            problems[of_metric[0].name] = str(error)
    found = [test for test in found if test.metric not in problems]
    corrected = holm([test.p_value for test in found])
    return [replace(test, corrected=p) for test, p in zip(found, corrected, strict=True)], problems


def _test(
    names: tuple[str, str], first: Gathered, second: Gathered, settings: Settings, tick: Callable[[], None]
) -> Test:
    units = matched(first.fake, second.fake, settings.pair)
    difference, from_real = difference_of(first, second)
    n_first = len(first.fake.clip_ids)
    result = permuted(difference, units, n_first, settings.draws, settings.seed, tick)
    codes = real_codes(first.real) if difference.n_real and not settings.fixed_real else None
    high = first.metric.higher_is_better
    return Test(
        metric=first.name,
        title=titled(first.metric, first.network),
        unit=first.metric.unit,
        names=names,
        values=(
            difference.alone(units.rows_a),
            difference.alone(units.rows_b + n_first),
        ),
        difference=difference.between(units.rows_a, units.rows_b + n_first),
        standard_error=standard_error(difference, units, n_first, codes, settings.seed),
        better=1 if from_real else 0 if high is None else -1 if high else 1,
        p_value=result.p_value,
        corrected=result.p_value,
        units=units,
        n_real=difference.n_real,
        from_real=from_real,
    )


def real_codes(real: Measured | None) -> np.ndarray | None:
    """int64 [R]: which real clips are not independent."""
    if real is None:
        return None
    return group_codes(real.groups or [str(k) for k in range(len(real.clip_ids))])


def difference_of(first: Gathered, second: Gathered) -> tuple[Difference, bool]:
    """The difference of two sets by one metric, and whether it is of distances from the real mean. Raises UserError
    where it is none.
    """
    metric = first.metric
    pool = np.concatenate([first.fake.values, second.fake.values])
    if isinstance(metric, FeatureMetric):
        assert first.real is not None
        return _of_features(metric, pool, first.real.values), False
    values = pool[:, 0].astype(np.float64)
    if not np.isfinite(values).all():
        raise UserError("some clips have an infinite value, of which there is no mean to test")
    if metric.higher_is_better is not None or first.real is None:
        return MeanDifference(values), False
    return MeanDifference(values, first.real.values[:, 0].astype(np.float64)), True


def _of_features(metric: FeatureMetric, pool: np.ndarray, real: np.ndarray) -> Difference:
    if isinstance(metric, FVD) and metric.dtype == "float64":
        return FrechetDifference(pool, real, metric.ddof)
    if isinstance(metric, KVD) and metric.method == "full" and metric.unbiased:
        return KernelDifference(pool, real, PolynomialKernel(metric.degree, metric.gamma, metric.coef), metric.scale)
    plain = replace(metric, error_bar=False) if isinstance(metric, FVD) else metric

    def value(of_real: np.ndarray, of_fake: np.ndarray) -> float:
        rows = [part.reshape(-1, part.shape[-1]) for part in (of_real, of_fake)]
        return plain(rows[0], rows[1]).value

    return AnyDifference(pool, real, value)
