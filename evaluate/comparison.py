"""Rows of scores side by side: the best first, what was measured again listed once, and whether a difference is more
than the errors.
"""

import math
from collections.abc import Sequence

from clipmill.curate.errors import UserError
from clipmill.evaluate.metrics import metric_class
from clipmill.evaluate.score_rows import ScoreRow, comparable_groups, differing_fields, measured_once

_ERRORS = 2.0


def tables(rows: Sequence[ScoreRow], force: bool) -> tuple[list[str], list[str]]:
    """(lines, metrics whose rows may not be put in one order). force: put them in one all the same, at the end."""
    by_metric: dict[str, list[list[ScoreRow]]] = {}
    for group in comparable_groups(rows):
        by_metric.setdefault(group[0].metric, []).append(group)
    lines: list[str] = []
    refused = []
    for metric, several in by_metric.items():
        lines.append(f"{metric} ({_order_named(metric)})")
        for k, group in enumerate(several):
            if k:
                fields = differing_fields(several[0][0].facts, group[0].facts)
                lines.append(f"  not comparable with the above: {'; '.join(fields)}")
                refused.append(metric)
            lines += _table(metric, group)
        if force and len(several) > 1:
            lines += ["  forced, in one order:", *_table(metric, [row for group in several for row in group])]
    return lines, list(dict.fromkeys(refused))


def _table(metric: str, rows: Sequence[ScoreRow]) -> list[str]:
    """One line a row, best first, each with its difference from the first."""
    ordered = sorted(measured_once(rows), key=lambda pair: _place(metric, pair[0].value))
    found = []
    for row, count in ordered:
        again = f", measured {count} times" if count > 1 else ""
        told = "" if row is ordered[0][0] else f": {_difference(ordered[0][0], row)}"
        found.append(f"  {row}  {row.fake}  ({row.protocol}, {row.n_fake} clips, {row.fingerprint}{again}){told}")
    return found


def _place(metric: str, value: float) -> float:
    return math.inf if math.isnan(value) else -value if _higher_is_better(metric) else value


def _difference(first: ScoreRow, row: ScoreRow) -> str:
    """Whether two values differ by more than their errors; the sets' errors are taken as independent, which says too
    little where both share the real videos.
    """
    difference = abs(first.value - row.value)
    if not math.isfinite(difference):
        return "equal to the first" if first.value == row.value else "one of the two is infinite"
    if first.standard_error is None or row.standard_error is None:
        return f"{difference:.2g} from the first; without error bars nothing says whether that is much"
    error = math.hypot(first.standard_error, row.standard_error)
    verdict = "more than the errors explain" if difference > _ERRORS * error else "within the errors"
    return f"{difference:.2g} ± {error:.2g} from the first, {verdict}"


def _order_named(metric: str) -> str:
    better = _higher_is_better(metric)
    return "neither low nor high is better" if better is None else f"{'highest' if better else 'lowest'} is best"


def _higher_is_better(metric: str) -> bool | None:
    try:
        return metric_class(metric).higher_is_better
    except UserError:  # of another version, or of a file that is not here
        return None
