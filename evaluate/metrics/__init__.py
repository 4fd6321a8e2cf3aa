"""Metrics, one per file. A new one is a new file, found by its name. What a metric looks at decides its base class.

May import: distances, frames, features, curate's common, weights, and the motion annotator.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from clipmill.curate.common.plugins import names as _names
from clipmill.curate.common.plugins import plugin

Groups = tuple[np.ndarray, np.ndarray] | None
"""For each real and each fake row the number of the group (source video, copies) of those it is not independent of,
int64 [N] and [M]; None: all rows are independent.
"""


@dataclass(frozen=True)
class Score:
    """One number. standard_error: null where it cannot be estimated. details: further numbers of the same computation,
    such as `fvd_infinity`. warnings: one line each, for the reader of the number.
    """

    value: float
    standard_error: float | None = None
    details: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Metric:
    """Base of all metrics. A subclass is a frozen dataclass: its fields are its parameters, settable as `--set
    name.field=value`.

    title: how a person calls it; `{features}`, `{frechet_name}` and `{kernel_name}` stand for what the feature network
    says. unit: of the value, empty for none.
    higher_is_better: None where neither is. definition: raised where the same input gives another value than before, so
    that values of the two do not compare, and stored ones are made again.
    """

    title: ClassVar[str] = ""
    unit: ClassVar[str] = ""
    definition: ClassVar[int] = 1
    higher_is_better: ClassVar[bool | None] = None


@dataclass(frozen=True)
class FeatureMetric(Metric, ABC):
    """Compares two sets by their features. features: the network it is defined on, None: the protocol's."""

    features: ClassVar[str | None] = None

    @abstractmethod
    def __call__(self, real: np.ndarray, fake: np.ndarray, seed: int = 0, groups: Groups = None) -> Score:
        """float [N, D] and [M, D] of finite numbers -> Score. seed: of the error bar's subsampling. groups: of rows
        that are not independent, for the error bar. Raises UserError for sets too small.
        """

    def per_clip(self, real: np.ndarray, fake: np.ndarray) -> np.ndarray | None:
        """A value of each fake clip, float64 [M]: of a distance its share, about M times how much the distance would
        fall without it. None where the metric has no such value, or sees single frames.
        """
        return None


@dataclass(frozen=True)
class VideoMetric(Metric, ABC):
    """Measures single videos, without a network and without a reference; a set's score is the mean over its clips."""

    @abstractmethod
    def __call__(self, video: np.ndarray, fps: float) -> float:
        """uint8 [T, H, W, 3] RGB at `fps` -> value; NaN where nothing can be said (one frame, say), which is counted,
        not averaged. An infinite number is a value.
        """

    def why_nothing(self, video: np.ndarray, fps: float) -> str:
        """The reason of a NaN, in a few words; asked only then."""
        return "one frame alone" if len(video) < 2 else "the metric gives no number for it"

    def on(self, device: str) -> Callable[[np.ndarray, float], float]:
        """The metric with its network, where it has one, on `device`: auto, cpu or cuda."""
        return self


@dataclass(frozen=True)
class PairMetric(Metric, ABC):
    """Compares a reconstruction with its original; a set's score is the mean over pairs, matched by clip id."""

    @abstractmethod
    def __call__(self, real: np.ndarray, fake: np.ndarray) -> float:
        """uint8 [T, H, W, 3] twice, same shape -> value. Raises UserError where the shapes differ."""


@dataclass(frozen=True)
class TextMetric(Metric, ABC):
    """Measures videos against their captions (CLIP similarity)."""

    @abstractmethod
    def __call__(self, video: np.ndarray, caption: str) -> float:
        """uint8 [T, H, W, 3] RGB and its text -> value."""

    def on(self, device: str) -> Callable[[np.ndarray, str], float]:
        """The metric with its network, where it has one, on `device`: auto, cpu or cuda."""
        return self


def names() -> list[str]:
    """Every metric of this folder."""
    return _names(sys.modules[__name__])


def metric_class(name: str) -> type[Metric]:
    """The class in `evaluate/metrics/<name>.py`. Raises UserError with the known names where there is none."""
    return plugin(sys.modules[__name__], name, Metric, "metric")  # type: ignore[type-abstract]
