"""Scores of generated and curated video: FVD, KVD and others, each number with its protocol and its error bar.

    from evaluate import fvd
    row = fvd("real/", "samples/", protocol="clipmill")
    print(row, row.fingerprint)

`fvd`, `kvd`, `score` take whatever the command line takes, and uint8 arrays [N, T, H, W, 3]. For use inside training
loops there are `clipmill.evaluate.meter.FrechetVideoDistance` and `KernelVideoDistance` (update, compute).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from clipmill.evaluate.score_rows import ScoreRow

__all__ = ["fvd", "kvd", "score"]


def score(
    metrics: Sequence[str],
    real: "str | Path | np.ndarray | None",
    fake: "str | Path | np.ndarray",
    protocol: str = "clipmill",
    sets: Mapping[str, Any] | None = None,
    weights: Path | str | None = None,
    where: str | None = None,
    device: str = "auto",
    cache: Path | str | None = None,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
) -> "list[ScoreRow]":
    """Scores of `fake`, one row per metric; clips are decoded, and features computed, once for all of them.

    real: the reference set; None for metrics of one set. sets: fields of the protocol to change. weights: a local file
    of the feature network. where: an SQL-like condition on a manifest's columns; it filters runs, not samples. cache:
    folder in which features are kept (none: they are not). parameters: metric -> its fields. Raises
    clipmill.curate.errors.UserError, one line, for whatever the caller can mend.
    """
    from clipmill.evaluate.evaluation import Evaluation
    from clipmill.evaluate.extraction.measure import Settings
    from clipmill.evaluate.frames.protocol import load

    settings = Settings(device=device, cache=Path(cache) if cache is not None else None)
    at = Path(weights) if weights is not None else None
    evaluation = Evaluation(real, fake, load(protocol, dict(sets or {})), settings, at, where, parameters or {})
    return [evaluation.score(name) for name in metrics]


def fvd(
    real: "str | Path | np.ndarray", fake: "str | Path | np.ndarray", protocol: str = "clipmill", **options: Any
) -> "ScoreRow":
    """The Fréchet distance of two sets on the protocol's features; called FVD only where those are I3D's. Options as of
    `score`.
    """
    return score(["fvd"], real, fake, protocol, **options)[0]


def kvd(
    real: "str | Path | np.ndarray", fake: "str | Path | np.ndarray", protocol: str = "clipmill", **options: Any
) -> "ScoreRow":
    """The kernel distance (unbiased MMD^2, cubic kernel) of two sets on the protocol's features. Options as of
    `score`.
    """
    return score(["kvd"], real, fake, protocol, **options)[0]
