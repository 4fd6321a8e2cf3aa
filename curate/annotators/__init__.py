"""What an annotator is. One annotator = one file in this folder = one class; it is found by the file's name.

An annotator turns clips into columns and never decides anything: thresholds live in the policy. The pipeline decodes a
video once and hands each annotator what its class asks for:

- `frames`: pictures of the clip, on a time grid (`fps`) or at named positions (`roles`: first, middle, last);
- `observe`: a small vector measured on the full-resolution luma of sampled frames while the video is decoded;
- the per-frame signals of `curate.signals` (luma mean, frame difference), always there, for every decoded frame.
"""

import pkgutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from curate import finding

ROLES = ("first", "middle", "last")


@dataclass(frozen=True)
class FrameRequest:
    """Frames an annotator wants: `fps` on the grid k / fps of the video's time, or `roles` in the clip.

    `short_side_px` is the size of the full picture's shorter side before the crop box is cut out; pixels are square
    and upright. Role frames come from the stored JPEGs and are never larger than those.
    """

    fps: float | None = None
    roles: tuple[str, ...] = ()
    short_side_px: int = 256
    gray: bool = False


@dataclass(frozen=True)
class ClipFrames:
    """One clip as an annotator sees it. Times are seconds from the video's first frame.

    frames: uint8 [T, H, W, 3] RGB, or [T, H, W] where the request is gray; the crop box is already cut out.
    crop: the crop box as fractions (x0, y0, x1, y1) of the full picture, for what `observe` measured on all of it.
    observed: float32 [S, K], what `observe` returned for the S sampled frames inside the clip.
    signals: name -> float32 [N] for the clip's N frames (see curate.signals).
    """

    clip_id: str
    video_id: str
    start_s: float
    end_s: float
    width_px: int
    height_px: int
    crop: tuple[float, float, float, float]
    t_s: np.ndarray
    frames: np.ndarray
    roles: tuple[str, ...]
    observed_t_s: np.ndarray
    observed: np.ndarray
    signals_t_s: np.ndarray
    signals: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Annotator:
    """Base of all annotators. A subclass is a frozen dataclass: its fields are its parameters, settable as `--set name.field=value`.

    version: part of the table's name; bump it when results change.
    columns: name -> Arrow type; name, unit and range of each are documented in the subclass's docstring. Names are unique
    across annotators, because a policy refers to columns by name alone.
    observe_fps: how often `observe` is called, 0 for never.
    weights: names in the weights registry, checked before a run starts.
    """

    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, pa.DataType]] = {}
    observe_fps: ClassVar[float] = 0.0
    weights: ClassVar[tuple[str, ...]] = ()
    gpu: ClassVar[float] = 0.0

    @property
    def frames(self) -> FrameRequest | None:
        """The pictures this annotator needs; None where signals or observations are enough."""
        return None

    def check(self) -> None:
        """Raise UserError where something that `setup` needs is missing. For the preflight: quick, loads nothing."""

    def setup(self, device: str) -> None:
        """Load models; called once per worker process, before the first clip. `device` is cpu or cuda."""

    def observe(self, luma: np.ndarray) -> np.ndarray:
        """Measure one upright full-resolution frame, luma uint8 [H, W] -> float32 [K]. Called `observe_fps` times a second."""
        raise TypeError(f"{type(self).__name__} sets observe_fps but has no observe()")

    def __call__(self, clips: Sequence[ClipFrames]) -> list[dict[str, Any]]:
        """One dict of column values per clip, same order. Raise AnnotatorError where nothing can be said of a clip alone."""
        raise TypeError(f"{type(self).__name__} has no __call__()")

    def params(self) -> dict[str, Any]:
        """The parameters that decide the result, for the fingerprint."""
        return asdict(self)


def names() -> list[str]:
    """Every annotator of this folder, by file name."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__))


def annotator_class(name: str) -> type[Annotator]:
    """The class in `curate/annotators/<name>.py`. Raises UserError with the known names where there is none."""
    return finding.plugin(sys.modules[__name__], name, Annotator, "annotator")
