"""Which manifest a set has, told without opening the set."""

from pathlib import Path

import numpy as np

from clipmill.curate.common.publish import manifest_files
from clipmill.curate.errors import UserError
from clipmill.curate.tables.manifest import manifest_at
from clipmill.evaluate.sets.specs import Spec

_OF_SAMPLES = {"path", "checkpoint", "weights_sha256"}


def manifest_of(spec: Spec) -> Path | None:
    """The manifest of a run, of samples, or the one that `spec` names itself; None where the set has none."""
    if isinstance(spec, np.ndarray | list):
        return None
    path = Path(spec)
    if path.suffix == ".parquet":
        return path
    inside = manifest_files(path).switch if path.is_dir() else path
    return inside if path.is_dir() and inside.is_file() else None


def is_samples(spec: Spec) -> bool:
    """Whether the set is what `models sample` made of a checkpoint."""
    path = manifest_of(spec)
    try:
        return path is not None and set(manifest_at(path).column_names) >= _OF_SAMPLES
    except (OSError, UserError):
        return False  # whoever opens the set says what is wrong with it


def takes_condition(spec: Spec) -> bool:
    """Whether `--where` filters the set: it has a manifest, and its clips are not samples, which do not have the
    columns of a run.
    """
    return manifest_of(spec) is not None and not is_samples(spec)
