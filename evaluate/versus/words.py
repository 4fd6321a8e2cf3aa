"""What the tests of a study say, in lines."""

from collections.abc import Iterator, Sequence
from typing import Any

from clipmill.evaluate.versus.power import POWER, clips_needed, power_of, visible_difference
from clipmill.evaluate.versus.ranking import ALPHA, letters
from clipmill.evaluate.versus.study import Test

_ERRORS = 1.96
_SHARES = (1.0, 0.5, 0.25)
_PARTS = (0.2, 0.1, 0.05)


def lines(tests: Sequence[Test]) -> Iterator[str]:
    """Of each metric the sets from best to worst, with a letter for each group that cannot be told apart, then the
    tests.
    """
    for metric in dict.fromkeys(test.metric for test in tests):
        of_metric = [test for test in tests if test.metric == metric]
        yield f"{metric}: {_head(of_metric[0])}"
        yield from _ranking(of_metric)
        for test in of_metric:
            yield f"  {_test(test)}"
    yield _corrected(len(tests))


def power_lines(tests: Sequence[Test], difference: float | None) -> Iterator[str]:
    """How large a difference can be seen, and how many clips smaller ones need."""
    for test in tests:
        clips, error = len(test.units.rows_a), test.standard_error
        yield f"{test.metric}: {test.names[0]} and {test.names[1]}, {_counts(test)}"
        if error is None:
            yield "  no error bar, and so no answer: fewer than eight units, or a metric whose error bar is not known"
            continue
        unit = f" {test.unit}" if test.unit else ""
        yield f"  the difference {test.difference:.4g} is known to ± {error:.2g}{unit}"
        yield f"  {clips} clips find a difference of {visible_difference(error):.3g}{unit} {POWER:.0%} of the time"
        asked = [difference] if difference is not None else _asked(test)
        for one in asked:
            if one:
                needed = clips_needed(one, error, clips)
                yield f"  {one:.3g}{unit}: {needed} clips of each (now: {power_of(one, error):.0%} of the time)"


def _asked(test: Test) -> list[float]:
    """Differences that one would like to see: the one that was found and parts of it; without one, parts of the
    value.
    """
    if test.difference:
        return [abs(test.difference) * share for share in _SHARES]
    return [abs(test.values[0]) * share for share in _PARTS]


def record(test: Test) -> dict[str, Any]:
    """A test as plain values, for JSON."""
    return {
        "metric": test.metric,
        "title": test.title,
        "sets": list(test.names),
        "values": list(test.values),
        "difference": test.difference,
        "standard_error": test.standard_error,
        "p_value": test.p_value,
        "p_corrected": test.corrected,
        "better": better_of(test),
        "clips": len(test.units.rows_a),
        "units": test.units.count,
        "real_clips": test.n_real,
        "paired": test.units.how,
        "left_out": list(test.units.left_out),
    }


def better_of(test: Test) -> str | None:
    """The set that is better, by the corrected p-value; None where they cannot be told apart, or neither is."""
    if not told_apart(test) or not test.better or test.difference == 0:
        return None
    return test.names[0 if test.difference * test.better < 0 else 1]


def told_apart(test: Test) -> bool:
    """Whether a difference this large would come by chance less often than the level says."""
    return test.corrected <= ALPHA


def _head(test: Test) -> str:
    if test.from_real:
        return f"{test.title}, as distance from the real value; lower is better"
    order = {1: "lower is better", -1: "higher is better", 0: "neither is better"}[test.better]
    return f"{test.title}; {order}"


def _ranking(tests: Sequence[Test]) -> Iterator[str]:
    values = {name: value for test in tests for name, value in zip(test.names, test.values, strict=True)}
    ordered = sorted(values, key=lambda name: values[name] * (tests[0].better or 1))
    if len(ordered) < 3:
        return
    marks = letters(ordered, {frozenset(test.names): told_apart(test) for test in tests})
    width = max(map(len, marks.values()))
    for place, name in enumerate(ordered, 1):
        yield f"  {place}. {marks[name]:{width}}  {name} {values[name]:.6g}"
    yield "  sets with a letter in common cannot be told apart"


def _test(test: Test) -> str:
    a, b = test.names
    unit = f" {test.unit}" if test.unit else ""
    found = f"{a} {test.values[0]:.6g}, {b} {test.values[1]:.6g}: difference {test.difference:.4g}"
    if test.standard_error is not None:
        half = _ERRORS * test.standard_error
        found += (
            f" ± {test.standard_error:.2g}{unit} (95 %: {test.difference - half:.4g} to {test.difference + half:.4g})"
        )
    found += f", p {test.p_value:.2g}, corrected {test.corrected:.2g}; {_counts(test)}: "
    better = better_of(test)
    if better is not None:
        return found + f"{better} is better"
    return found + ("they differ" if told_apart(test) else "they cannot be told apart")


def _counts(test: Test) -> str:
    clips, units = len(test.units.rows_a), test.units.count
    of = f" of {units} prompts or sources" if units != clips else ""
    left = f", {test.units.left_out[0]} and {test.units.left_out[1]} left out" if any(test.units.left_out) else ""
    return f"{clips} clips of each{of}, {test.units.how}{left}"


def _corrected(count: int) -> str:
    if count == 1:
        return "p: two-sided permutation test; one test, nothing to correct for"
    return f"p: two-sided permutation tests; corrected for all {count} of them (Holm), told apart at {ALPHA:g}"
