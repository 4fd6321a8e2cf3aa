"""What an annotator is: settings, the frames it asks for, and one row of columns per clip."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from clipmill.curate.contract.column import Column

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
    signals: name -> float32 [N] for the clip's N frames (see clipmill.curate.video.signals).
    columns: what the annotators named in `after` and `uses` made of this clip, and the clip's own row. captions:
    structs of schema.CAPTION with status ok: the sidecar's, then those of the caption annotators among them.
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
    columns: Mapping[str, Any] = field(default_factory=dict)
    captions: Sequence[Mapping[str, Any]] = ()


# One dict of column values per clip, same order. AnnotatorError, raised for one clip or in the place of its dict among
# several: nothing can be said of it, and why.
Rows = Sequence[dict[str, Any] | Exception]
Measure = Callable[[Sequence[ClipFrames]], Rows]


def per_clip(measure: Callable[[ClipFrames], dict[str, Any]]) -> Measure:
    """A function of one clip as one of many, which looks at each alone."""
    return lambda clips: [measure(clip) for clip in clips]


@dataclass(frozen=True)
class Annotator:
    """Base of all annotators. A subclass is a frozen dataclass: its fields are its parameters, settable as `--set
    name.field=value`.

    version: part of the table's name; bump it when results change.
    columns: name -> type and what it means, with unit and range. Names are unique across annotators, because a policy
    refers to columns by name alone.
    observe_fps: how often `observe` is called, 0 for never.
    gpu: how much of a GPU it keeps busy, 0 to 1; those that load different weights for it run in passes of their own.
    from_stored: stored pictures and columns are enough (see above). max_workers: processes it may run in at once, None:
    any.
    """

    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {}
    observe_fps: ClassVar[float] = 0.0
    gpu: ClassVar[float] = 0.0
    from_stored: ClassVar[bool] = False
    max_workers: ClassVar[int | None] = None

    @property
    def weights(self) -> tuple[str, ...]:
        """Names in the weights registry (`clipmill.curate.weights`), or paths; found or fetched before a run starts."""
        return ()

    @property
    def after(self) -> tuple[str, ...]:
        """Annotators whose columns it cannot do without: they run before it, asked for or not. For `from_stored`
        only.
        """
        return ()

    @property
    def uses(self) -> tuple[str, ...]:
        """Annotators whose columns it reads where they run, too; a name that ends in * means all that begin so."""
        return ()

    @property
    def reads_sidecar(self) -> bool:
        """Whether its columns depend on the caption beside the video."""
        return False

    @property
    def batch_clips(self) -> int:
        """How many clips the loaded function is given at once, at most."""
        return 1

    @property
    def frames(self) -> FrameRequest | None:
        """The pictures this annotator needs; None where signals or observations are enough."""
        return None

    @property
    def needs_video(self) -> bool:
        """Whether stored pictures, signals and columns are not enough: the video has to be decoded for it."""
        return self.observe_fps > 0 or (self.frames is not None and self.frames.fps is not None)

    def check(self) -> None:
        """Raise UserError where something that `load` needs is missing. For the preflight: quick, loads nothing."""

    def load(self, device: str, files: Mapping[str, Path]) -> Measure:
        """What turns clips into rows; called once per worker process, before the first clip. One that needs a network
        loads it here and returns a function that holds it: the annotator itself stays settings. device: cpu or cuda.
        files: of each name in `weights`.
        """
        return per_clip(self.measure)

    def measure(self, clip: ClipFrames) -> dict[str, Any]:
        """The columns of one clip: all that an annotator without a network has to write. Raises AnnotatorError, with
        the reason, where nothing can be said of it.
        """
        raise TypeError(f"{type(self).__name__} has neither measure() nor load()")

    def observe(self, luma: np.ndarray) -> np.ndarray:
        """Measure one upright full-resolution frame, luma uint8 [H, W] -> float32 [K]. Called `observe_fps` times a
        second.
        """
        raise TypeError(f"{type(self).__name__} sets observe_fps but has no observe()")

    def params(self) -> dict[str, Any]:
        """The parameters that decide the result, for the fingerprint."""
        return asdict(self)
