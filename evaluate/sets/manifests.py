"""Which manifest a set has, told without opening the set."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clipmill.evaluate.sets.specs import Spec

_OF_SAMPLES = {"path", "checkpoint", "weights_sha256"}


def manifest_of(spec: Spec) -> Path | None:
    """The manifest of a run, of samples, or the one that `spec` names itself; None where the set has none."""
    if isinstance(spec, np.ndarray | list):
        return None
    path = Path(spec)
    if path.suffix == ".parquet":
        return path
    inside = path / "manifest.parquet"
    return inside if inside.is_file() else None


def is_samples(spec: Spec) -> bool:
    """Whether the set is what `models sample` made of a checkpoint."""
    path = manifest_of(spec)
    try:
        return path is not None and set(pq.read_schema(path).names) >= _OF_SAMPLES
    except (OSError, pa.ArrowInvalid):
        return False  # whoever opens the set says what is wrong with it


def takes_condition(spec: Spec) -> bool:
    """Whether `--where` filters the set: it has a manifest, and its clips are not samples, which do not have the
    columns of a run.
    """
    return manifest_of(spec) is not None and not is_samples(spec)
