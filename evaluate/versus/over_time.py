"""Does a long video get worse: a metric of each window of its frames, and the slope, with error bars."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from clipmill.curate.errors import UserError
from clipmill.evaluate.distances.error_bar import MIN_ROWS, LeftOut, one_thread, splits_of
from clipmill.evaluate.distances.grouped import group_codes, random_parts
from clipmill.evaluate.evaluation import Gathered, titled
from clipmill.evaluate.metrics import FeatureMetric
from clipmill.evaluate.versus.differences import AnyDifference, Difference
from clipmill.evaluate.versus.study import difference_of, real_codes


@dataclass(frozen=True)
class Curve:
    """values: of each window; errors: of each, and of its difference from the first; slope: of the least-squares line,
    per window. None where no error bar can be given. from_first: distance of each window to the first one, of distances
    alone. clips: videos that have all windows; left_out: the others.
    """

    metric: str
    title: str
    unit: str
    values: tuple[float, ...]
    errors: tuple[float | None, ...]
    since_first: tuple[float | None, ...]
    slope: float
    slope_error: float | None
    from_first: tuple[float, ...] | None
    clips: int
    left_out: int

    @property
    def step(self) -> int:
        """The window before which the value changes most."""
        return int(np.argmax(np.abs(np.diff(self.values)))) + 1


def curve_of(found: Gathered, windows: int, seed: int) -> Curve:
    """The curve of what was gathered with `windows` clips of each video, the videos that have all of them. Raises
    UserError where fewer than two have, or there are fewer than two windows.
    """
    rows, left_out = _rows(found, windows)
    pool = replace(found, fake=replace(found.fake, values=found.fake.values[np.concatenate(rows)]))
    count = len(rows[0])
    known = _plain(pool)
    at = [np.arange(count) + k * count for k in range(windows)]
    codes = group_codes([found.fake.groups[i] for i in rows[0]])
    left = _left_out(known, at, codes, real_codes(found.real) if known.n_real else None, seed)
    values = np.array([known.alone(one) for one in at])
    line = np.arange(windows) - (windows - 1) / 2
    line /= np.square(line).sum()
    each = np.eye(windows)
    return Curve(
        metric=found.name,
        title=titled(found.metric, found.network),
        unit=found.metric.unit,
        values=tuple(values.tolist()),
        errors=tuple(_error(values, left, one, codes) for one in each),
        since_first=(None, *(_error(values, left, one - each[0], codes) for one in each[1:])),
        slope=float(line @ values),
        slope_error=_error(values, left, line, codes),
        from_first=_from_first(pool, at),
        clips=count,
        left_out=left_out,
    )


def _rows(found: Gathered, windows: int) -> tuple[list[np.ndarray], int]:
    """Of each window the rows of its clips, the same videos in the same order."""
    places: dict[str, dict[int, int]] = {}
    for row, (video, key) in enumerate(zip(found.fake.videos, found.fake.keys, strict=True)):
        places.setdefault(video.video_id, {})[int(key.rpartition("#")[2])] = row
    whole = [own for own in places.values() if len(own) == windows]
    if windows < 2 or len(whole) < 2:
        raise UserError(f"{len(whole)} videos have {windows} windows; a curve needs two of each: --windows takes fewer")
    known = len({*places, *(skip.video_id.partition("#")[0] for skip in found.fake.skipped)})
    return [np.array([own[k] for own in whole]) for k in range(windows)], known - len(whole)


def _plain(found: Gathered) -> Difference:
    """The metric as a number of some of the clips; of a mean the mean itself, not its distance from the real one."""
    nothing = replace(found, fake=replace(found.fake, values=found.fake.values[:0]))
    if isinstance(found.metric, FeatureMetric):
        return difference_of(found, nothing)[0]
    return difference_of(replace(found, real=None), nothing)[0]


def _left_out(
    known: Difference, at: Sequence[np.ndarray], codes: np.ndarray, real: np.ndarray | None, seed: int
) -> Mapping[int, np.ndarray]:
    """Parts -> float64 [splits, parts, windows]: the metric without one part of the videos and of the real clips."""
    fewest = min(len(np.unique(c)) for c in (codes, real) if c is not None)
    if fewest < MIN_ROWS or isinstance(known, AnyDifference):
        return {}
    rng = np.random.default_rng(seed)

    def one_split(parts: int) -> list[list[float]]:
        of_real = [None] * parts if real is None else random_parts(real, parts, rng)
        found = []
        for i, j in zip(random_parts(codes, parts, rng), of_real, strict=True):
            left = None if j is None or real is None else np.delete(np.arange(len(real)), j)
            found.append([known.alone(np.delete(one, i), left) for one in at])
        return found

    with one_thread():
        return {
            parts: np.array([one_split(parts) for _ in range(count)])
            for parts, count in sorted(splits_of(len(codes), fewest).items())
        }


def _error(values: np.ndarray, left: Mapping[int, np.ndarray], weights: np.ndarray, codes: np.ndarray) -> float | None:
    """Of a weighted sum of the windows' values."""
    if not left:
        return None
    found = {parts: some @ weights for parts, some in left.items()}
    return LeftOut(float(values @ weights), found, len(np.unique(codes))).standard_error


def _from_first(pool: Gathered, at: Sequence[np.ndarray]) -> tuple[float, ...] | None:
    if not isinstance(pool.metric, FeatureMetric):
        return None
    first = replace(pool.fake, values=pool.fake.values[at[0]])
    nothing = replace(pool.fake, values=pool.fake.values[:0])
    to_first = difference_of(replace(pool, real=first), replace(pool, fake=nothing))[0]
    return tuple(to_first.alone(one) for one in at)
