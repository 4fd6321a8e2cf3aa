"""A metric of each group of clips: per prompt, category, source, length, or any column of a manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clipmill.curate.errors import UserError
from clipmill.evaluate.evaluation import Gathered
from clipmill.evaluate.extraction.measure import Measured
from clipmill.evaluate.mean_score import mean_score
from clipmill.evaluate.perclip.columns import UNKNOWN, column, grouping
from clipmill.evaluate.perclip.table import is_mean

_MOST_LINES = 40


@dataclass(frozen=True)
class GroupScore:
    """A metric of the clips that have one value in a column. n_real: 0 where no real clips are part of it. problem: why
    there is no value.
    """

    metric: str
    column: str
    group: str
    n_fake: int
    n_real: int = 0
    value: float | None = None
    standard_error: float | None = None
    problem: str = ""


def by_column(found: Gathered, name: str, seed: int) -> list[GroupScore]:
    """The metric of each group of fake clips, in the order of the groups' names. A distance is to the real clips of the
    same group, or, where the real set does not have the column, to all of them. Raises UserError for an unknown
    column.
    """
    values = column(found.fake, name)
    group_of = grouping(values)
    groups = [group_of(value) for value in values]
    reals = _real_groups(found, name, group_of)
    return [
        _score(found, name, group, [k for k, g in enumerate(groups) if g == group], reals, seed)
        for group in sorted(set(groups), key=lambda g: (g == UNKNOWN, _order(g)))
    ]


def words(found: Gathered, scores: Sequence[GroupScore]) -> str:
    """What the groups' numbers are, and whether they add up."""
    name = scores[0].column
    if is_mean(found):
        return f"{found.name} by {name} (means; weighted by their clips they add up to the whole):"
    whole = all(s.n_real == len(found.real.clip_ids) for s in scores) if found.real is not None else True
    to = "to all real clips" if whole else "to the real clips of the same group"
    return f"{found.name} by {name} ({to}; distances of groups do not add up to that of the whole):"


def group_lines(scores: Sequence[GroupScore], unit: str) -> list[str]:
    """One line a group; of many the first and the last by value."""
    shown = list(scores)
    if len(shown) > _MOST_LINES:
        known = sorted((s for s in shown if s.value is not None), key=lambda s: s.value or 0.0)
        half = _MOST_LINES // 2
        left_out = len(shown) - len(known[:half]) - len(known[half:][-half:])
        lines = [_line(s, unit) for s in known[:half]]
        return [*lines, f"  ... {left_out} more ...", *[_line(s, unit) for s in known[half:][-half:]]]
    return [_line(s, unit) for s in shown]


def _line(score: GroupScore, unit: str) -> str:
    counts = f"{score.n_fake} clips" + (f", {score.n_real} real" if score.n_real else "")
    if score.value is None:
        return f"  {score.group}: {score.problem} ({counts})"
    error = "" if score.standard_error is None else f" ± {score.standard_error:.2g}"
    return f"  {score.group}: {score.value:.6g}{error}{' ' + unit if unit else ''} ({counts})"


def _score(
    found: Gathered, name: str, group: str, rows: Sequence[int], reals: Mapping[str, Sequence[int]] | None, seed: int
) -> GroupScore:
    fake = part_of(found.fake, rows)
    score = GroupScore(found.name, name, group, len(rows))
    if is_mean(found):
        mean = mean_score(fake, found.metric.higher_is_better, found.metric.unit)
        return replace(score, value=mean.value, standard_error=mean.standard_error)
    assert found.real is not None
    real = found.real if reals is None else part_of(found.real, reals.get(group, ()))
    score = replace(score, n_real=len(real.clip_ids))
    if not real.clip_ids:
        return replace(score, problem="no real clip is of this group")
    try:
        distance = replace(found, fake=fake, real=real).distance(seed)
    except UserError as error:
        return replace(score, problem=str(error))
    return replace(score, value=distance.value, standard_error=distance.standard_error)


def _real_groups(found: Gathered, name: str, group_of: Any) -> Mapping[str, Sequence[int]] | None:
    """Group -> rows of the real set; None where it is not told apart by this column."""
    if is_mean(found) or found.real is None or not found.real.videos or name in ("clip", "source"):
        return None
    try:
        values = column(found.real, name)
    except UserError:
        return None
    if all(value is None for value in values):
        return None
    rows: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        rows.setdefault(group_of(value), []).append(row)
    return rows


def part_of(measured: Measured, rows: Sequence[int]) -> Measured:
    """Some of the clips."""
    return Measured(
        [measured.clip_ids[i] for i in rows],
        [measured.keys[i] for i in rows],
        measured.values[np.asarray(rows, np.int64)],
        facts=[measured.facts[i] for i in rows] if measured.facts else [],
        groups=[measured.groups[i] for i in rows] if measured.groups else [],
        videos=[measured.videos[i] for i in rows] if measured.videos else [],
    )


def _order(group: str) -> tuple[int, float, str]:
    try:
        return 0, float(group.split(" to ")[0]), group
    except ValueError:
        return 1, 0.0, group
