"""How many clips it takes to see a difference."""

from statistics import NormalDist

from clipmill.evaluate.versus.ranking import ALPHA

POWER = 0.8


def clips_needed(difference: float, standard_error: float, clips: int, power: float = POWER) -> int:
    """Clips of each set with which a two-sided test at 5 % finds `difference` with the probability `power`.
    standard_error: of the difference at `clips` clips; it falls as the root of their number (Cohen, Statistical Power
    Analysis, 1988, chapter 2). Real clips grow in number as the others do.
    """
    return max(1, -int(-clips * (_errors(power) * standard_error / abs(difference)) ** 2 // 1))


def visible_difference(standard_error: float, power: float = POWER) -> float:
    """The smallest difference that is found with the probability `power`."""
    return _errors(power) * standard_error


def power_of(difference: float, standard_error: float) -> float:
    """Probability, 0 to 1, that a two-sided test at 5 % finds a difference."""
    normal, limit = NormalDist(), NormalDist().inv_cdf(1 - ALPHA / 2)
    errors = abs(difference) / standard_error
    return normal.cdf(errors - limit) + normal.cdf(-errors - limit)


def _errors(power: float) -> float:
    return NormalDist().inv_cdf(1 - ALPHA / 2) + NormalDist().inv_cdf(power)
