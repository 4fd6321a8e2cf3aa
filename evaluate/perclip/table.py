"""One row for each clip and metric, skipped clips included."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clipmill.curate.common.files import write_atomic
from clipmill.curate.errors import UserError
from clipmill.evaluate.evaluation import Gathered
from clipmill.evaluate.extraction.measure import Measured
from clipmill.evaluate.metrics import FeatureMetric
from clipmill.evaluate.perclip.columns import length_of
from clipmill.evaluate.sets.columns import category_of, source_of

SCHEMA = pa.schema(
    [
        ("set", pa.string()),
        ("clip", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
        ("kind", pa.string()),
        ("unit", pa.string()),
        ("source", pa.string()),
        ("caption", pa.string()),
        ("category", pa.string()),
        ("length_s", pa.float64()),
        ("problem", pa.string()),
    ]
)


def values_of(found: Gathered) -> np.ndarray | None:
    """float64 [clips of the fake set]: of a mean its parts, of a distance the clips' shares; None where there are
    none.
    """
    if not isinstance(found.metric, FeatureMetric):
        return found.fake.values[:, 0].astype(np.float64)
    if found.real is None or found.fake.values.ndim != 2:
        return None
    return found.metric.per_clip(found.real.values, found.fake.values)


def is_mean(found: Gathered) -> bool:
    """Whether the score is the mean of its clips' values."""
    return not isinstance(found.metric, FeatureMetric)


def write_clips(path: Path, gathered: Sequence[Gathered]) -> tuple[int, list[str]]:
    """Write the table. Returns the number of its rows, and the metrics that have no value of a clip."""
    records, without = [], []
    for found in gathered:
        values = values_of(found)
        if values is None:
            without.append(found.name)
            continue
        records += list(_records(found, "fake", found.fake, values))
        if is_mean(found) and found.real is not None:
            records += list(_records(found, "real", found.real, found.real.values[:, 0].astype(np.float64)))
    if not records:
        raise UserError(f"--clips: {', '.join(without)} has no value of single clips")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, pa.Table.from_pylist(records, schema=SCHEMA), synced=True)
    return len(records), without


def _records(found: Gathered, role: str, measured: Measured, values: np.ndarray) -> Iterator[Mapping[str, Any]]:
    same = {
        "set": role,
        "metric": found.name,
        "kind": "value" if is_mean(found) else "share",
        "unit": found.metric.unit,
    }
    for row, (clip, value) in enumerate(zip(measured.clip_ids, values.tolist(), strict=True)):
        yield {**same, "clip": clip, "value": value, **_known(measured, row)}
    for skip in measured.skipped:
        yield {**same, "clip": skip.video_id, "problem": skip.reason}


def _known(measured: Measured, row: int) -> dict[str, Any]:
    if not measured.videos:
        return {}
    video, length = measured.videos[row], length_of(measured, row)
    return {
        "source": source_of(video),
        "caption": video.caption,
        "category": category_of(video),
        "length_s": None if math.isnan(length) else length,
    }
