"""The Python API of `clipmill.evaluate`; its names are imported from there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from clipmill.curate.common.log import Tell, say, silent
from clipmill.curate.common.settings import Settings, setting_texts
from clipmill.evaluate.changes import changes_of

if TYPE_CHECKING:
    import numpy as np

    from clipmill.evaluate.score_rows import ScoreRow


class ScoreKeywords(TypedDict, total=False):
    """The options of `score`, `fvd` and `kvd`.

    settings: what `--set` takes: fields of the protocol (`{"clip_frames": 8}`) and of metrics (`{"fvd.draws": 5}`).
    real_settings, fake_settings: stride, fps or stored_fps of one of the two sets, where they are stored differently.
    features: a feature network instead of the protocol's. weights: a local file of the feature network. where: an SQL
    condition on a manifest's columns; it filters runs, not samples. device: auto, cpu or cuda. batch: clips per forward
    pass, 8. workers: decoding threads, 2. cache: folder in which features are kept; None: they are not. tell: a
    function of one line of text that gets progress, None for silence; default: the terminal. sets, parameters: older
    names, for the protocol's fields and for metric -> its fields.
    """

    settings: Settings
    real_settings: Mapping[str, Any]
    fake_settings: Mapping[str, Any]
    features: str | None
    weights: Path | str | None
    where: str | None
    device: str
    batch: int
    workers: int
    cache: Path | str | None
    tell: Tell | None
    sets: Mapping[str, Any] | None
    parameters: Mapping[str, Mapping[str, Any]] | None


def score(
    metrics: Sequence[str],
    real: "str | Path | np.ndarray | None",
    fake: "str | Path | np.ndarray",
    protocol: str = "clipmill",
    **options: Unpack[ScoreKeywords],
) -> "list[ScoreRow]":
    """Scores of `fake`; clips are decoded, and features computed, once for all metrics.

    Args:
        metrics: Names, `evaluate metrics` lists them.
        real: The reference set: whatever the command line takes, or an array, uint8 [N, T, H, W, 3]; None for metrics
            of one set.
        fake: The set to score, of the same kinds.
        protocol: A protocol's name, `evaluate protocols` lists them.
        **options: See `ScoreKeywords`.

    Returns:
        One row per metric: value, standard error, and everything that made it (`row.facts`, `row.fingerprint`).

    Raises:
        UserError: A set that cannot be opened, an unknown name, weights that are not here. Where some metrics cannot be
            computed the error has `rows`, those of the others, and `problems`, the reason of each.

    Example:
        >>> from clipmill import evaluate
        >>> rows = evaluate.score(["flicker", "kvd"], "run", "samples", features="mini", settings={"clip_frames": 8})
        >>> [row.metric for row in rows]
        ['flicker', 'kvd']
    """
    from clipmill.evaluate.evaluation import Evaluation
    from clipmill.evaluate.frames.protocol import load

    changes, parameters = changes_of(setting_texts(options.get("settings", ())))
    changes |= options.get("sets") or {}
    changes |= {"features": options["features"]} if options.get("features") else {}
    parameters |= {name: dict(values) for name, values in (options.get("parameters") or {}).items()}
    weights = options.get("weights")
    at = None if weights is None else Path(weights)
    evaluation = Evaluation(
        real=real,
        fake=fake,
        protocol=load(protocol, changes),
        settings=_settings(options),
        weights=at,
        where=options.get("where"),
        parameters=parameters,
        real_changes=options.get("real_settings") or {},
        fake_changes=options.get("fake_settings") or {},
    )
    return evaluation.scores(metrics)


def fvd(
    real: "str | Path | np.ndarray",
    fake: "str | Path | np.ndarray",
    protocol: str = "clipmill",
    **options: Unpack[ScoreKeywords],
) -> "ScoreRow":
    """The Fréchet distance of two sets on the protocol's features; called FVD only where those are I3D's.

    Args:
        real: The reference set, see `score`.
        fake: The set to score.
        protocol: A protocol's name.
        **options: See `ScoreKeywords`.

    Returns:
        The row; `float(row)` is the number, `row.standard_error` its error.

    Raises:
        UserError: As of `score`.

    Example:
        >>> from clipmill import evaluate
        >>> row = evaluate.fvd("run", "samples", features="mini", settings={"clip_frames": 8, "n_real": 0})
        >>> float(row) >= 0 and len(row.fingerprint) > 0
        True
    """
    return score(["fvd"], real, fake, protocol, **options)[0]


def kvd(
    real: "str | Path | np.ndarray",
    fake: "str | Path | np.ndarray",
    protocol: str = "clipmill",
    **options: Unpack[ScoreKeywords],
) -> "ScoreRow":
    """The kernel distance (unbiased MMD^2, cubic kernel) of two sets on the protocol's features: no bias in the number
    of clips.

    Args:
        real: The reference set, see `score`.
        fake: The set to score.
        protocol: A protocol's name.
        **options: See `ScoreKeywords`.

    Returns:
        The row; `float(row)` is the number.

    Raises:
        UserError: As of `score`.

    Example:
        >>> from clipmill import evaluate
        >>> evaluate.kvd("run", "samples", features="mini", settings={"clip_frames": 8}).metric
        'kvd'
    """
    return score(["kvd"], real, fake, protocol, **options)[0]


def _settings(options: ScoreKeywords) -> "Any":
    from clipmill.evaluate.extraction.measure import Settings as Means

    cache, tell = options.get("cache"), options.get("tell", say)
    return Means(
        device=options.get("device", "auto"),
        batch=options.get("batch", 8),
        workers=options.get("workers", 2),
        cache=None if cache is None else Path(cache),
        tell=silent if tell is None else tell,
    )
