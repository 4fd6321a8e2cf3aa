"""Area of text in the picture: the union of detected boxes on the first, middle and last frame, as in the SVD paper.

Detection only, nothing is read. `rapidocr`: PP-OCR's DB network (Liao et al., "Real-time Scene Text Detection with
Differentiable Binarization", AAAI 2020) from the model file inside the wheel. `easyocr`: CRAFT (Baek et al., CVPR
2019). Both networks mark lines generously; each box is then cut to the ink in it, so that areas compare with tight
labels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from clipmill.curate.contract.annotator import ROLES, Annotator, ClipFrames, FrameRequest, Measure, per_clip
from clipmill.curate.contract.column import Column
from clipmill.curate.errors import AnnotatorError, UserError
from clipmill.curate.networks.craft import check_easyocr, load_craft, unshrunk
from clipmill.curate.networks.rapidocr import GROW, Detector, grown, load_rapidocr, rapidocr_model

RASTER_SCALE = 4
CUT_GROW = 2.1
NO_INK_GROW = 0.6
SPREAD_PX = 0.25
SAME_FRAME_LEVELS = 12
FLAT_LEVELS = 10
METHODS = ("rapidocr", "easyocr")
CRAFT = "craft"
_AREA = (
    "in [0, 1], area of the union of the text lines' boxes over the area of the (cropped) frame, boxes tight around the"
    " ink"
)


@dataclass(frozen=True)
class Text(Annotator):
    """How much of the picture is text.

    method: rapidocr (PP-OCR detection, offline) or easyocr (CRAFT, needs the weights `craft`). side_px: short side of
    the network's input for rapidocr; CRAFT sees the frame as it is. tight: cut boxes to the ink; without it, boxes are
    as the networks' authors draw them.
    Raises UserError from `check` and `load` where the method's package is missing or its weights are damaged.
    """

    version: ClassVar[int] = 2
    columns: ClassVar[Mapping[str, Column]] = {
        "text_area": Column(pa.float32(), "in [0, 1], largest of those of the first, middle and last frame"),
        **{f"text_area_{role}": Column(pa.float32(), _AREA) for role in ROLES},
        "text_boxes": Column(pa.int32(), "boxes on the frame with the largest text area"),
    }

    method: Literal["rapidocr", "easyocr"] = "rapidocr"
    side_px: int = 192
    tight: bool = True

    @property
    def frames(self) -> FrameRequest:
        """The three role frames, in colour."""
        return FrameRequest(roles=ROLES, short_side_px=360)

    @property
    def weights(self) -> tuple[str, ...]:
        return (CRAFT,) if self.method == "easyocr" else ()

    def check(self) -> None:
        """Raise UserError where a package that `load` needs is missing; loads nothing."""
        if self.method not in METHODS:
            raise UserError(f"text.method must be one of {', '.join(METHODS)}, not {self.method!r}")
        rapidocr_model() if self.method == "rapidocr" else check_easyocr()

    def load(self, device: str, files: Mapping[str, Path]) -> Measure:
        """The network runs in one thread."""
        self.check()
        detector = (
            load_rapidocr(device, self.side_px) if self.method == "rapidocr" else load_craft(device, files[CRAFT])
        )
        return self.measured_by(detector)

    def measured_by(self, detector: Detector) -> Measure:
        """What `load` returns, with a detector of one's own."""
        return per_clip(partial(self._measure, detector))

    def _measure(self, detector: Detector, clip: ClipFrames) -> dict[str, Any]:
        if len(clip.frames) == 0:
            raise AnnotatorError("no frame to look for text on")
        found: dict[str, tuple[float, int]] = {}
        last: tuple[np.ndarray, tuple[float, int]] | None = None
        for role, frame in zip(clip.roles, clip.frames, strict=True):
            result = last[1] if last and same_picture(last[0], frame) else self._area(detector, frame)
            last, found[role] = (frame, result), result
        area, count = max(found.values())
        by_role = {f"text_area_{role}": found[role][0] if role in found else None for role in ROLES}
        return {"text_area": area, **by_role, "text_boxes": count}

    def _area(self, detector: Detector, rgb: np.ndarray) -> tuple[float, int]:
        if min(rgb.shape[:2]) < 16 or int(rgb.max()) - int(rgb.min()) < FLAT_LEVELS:
            return 0.0, 0
        kernels = detector(rgb)
        gray = _gray(rgb)
        boxes = [tight_box(gray, kernel) if self.tight else self._as_drawn(kernel) for kernel in kernels]
        return union_area(boxes, gray.shape), len(boxes)

    def _as_drawn(self, kernel: np.ndarray) -> np.ndarray:
        return grown(kernel, GROW) if self.method == "rapidocr" else unshrunk(kernel)


def _gray(rgb: np.ndarray) -> np.ndarray:
    import cv2

    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))


def same_picture(first: np.ndarray, second: np.ndarray) -> bool:
    """True where two frames (uint8, same shape) differ by coding noise only: no 8 px block moves by a text stroke."""
    import cv2

    if first.shape != second.shape:
        return False
    difference = cv2.blur(cv2.absdiff(first, second), (4, 4))
    return int(difference.max()) < SAME_FRAME_LEVELS


# A box is float32 [4, 2], corners (x, y) in px of the frame. A kernel is a box around the core of a text line, shrunk
# from the line as both networks are trained to mark it.


def tight_box(gray: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The smallest box around the ink of one text line, in the line's own direction.

    gray: uint8 [H, W]. The line is cut out upright with a margin and split in two classes (Otsu); ink is the class that
    is rarer on the rim, and of it the strokes that cross the kernel. Where no ink stands out the kernel grows by a
    fixed ratio.
    """
    import cv2

    centre, (w, h), angle = cv2.minAreaRect(np.asarray(kernel, np.float32))
    if w < h:
        w, h, angle = h, w, angle - 90
    scale = max(1.0, 48 / (h + 1))
    margin = 0.5 * CUT_GROW * w * h / (w + h) + 1
    size = (max(4, round((w + 2 * margin) * scale)), max(4, round((h + 2 * margin) * scale)))
    turn = np.asarray(cv2.getRotationMatrix2D(centre, angle, scale), np.float64)
    turn[:, 2] += np.array([size[0] / 2 - centre[0], size[1] / 2 - centre[1]])
    patch = cv2.warpAffine(gray, turn, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    bounds = ink_bounds(patch, margin * scale, SPREAD_PX * scale)
    if bounds is None:
        return grown(kernel, NO_INK_GROW)
    x0, y0, x1, y1 = bounds
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)
    return np.asarray(cv2.transform(corners[None], cv2.invertAffineTransform(turn))[0])


def ink_bounds(patch: np.ndarray, margin_px: float, spread_px: float) -> tuple[float, float, float, float] | None:
    """(x0, y0, x1, y1) of the ink in an upright line, uint8 [h, w], whose kernel lies `margin_px` inside; None without
    ink.

    spread_px: how far scaling and coding smear the ink outwards on each side.
    """
    import cv2

    height, width = patch.shape
    _, high = cv2.threshold(patch, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    rim = np.concatenate([high[0], high[-1], high[:, 0], high[:, -1]])
    ink = high if rim.mean() <= 0.5 else 1 - high
    m = int(margin_px)
    core = (slice(m, max(m + 1, height - m)), slice(m, max(m + 1, width - m)))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(np.asarray(ink, np.uint8), connectivity=8)
    crossing = np.unique(labels[core])
    crossing = crossing[crossing > 0]
    if len(crossing) == 0:
        return None
    left, top, w, h = (stats[crossing, i] for i in range(4))
    x0, y0, x1, y1 = left.min(), top.min(), (left + w).max(), (top + h).max()
    if (x1 - x0) * (y1 - y0) < 0.3 * (width - 2 * m) * (height - 2 * m):
        return None
    # ink that runs to the rim has merged with the background there: that side takes the fixed margin
    fixed = m * (1 - NO_INK_GROW / CUT_GROW)
    return (
        float(x0) + spread_px if x0 > 0 else fixed,
        float(y0) + spread_px if y0 > 0 else fixed,
        float(x1) - spread_px if x1 < width else width - fixed,
        float(y1) - spread_px if y1 < height else height - fixed,
    )


def union_area(boxes: Sequence[np.ndarray], shape: tuple[int, ...]) -> float:
    """Share of a frame of `shape` (h, w) that the boxes cover together, 0 to 1, rasterised at four times its size."""
    import cv2

    if not boxes:
        return 0.0
    canvas = np.zeros((shape[0] * RASTER_SCALE, shape[1] * RASTER_SCALE), np.uint8)
    for box in boxes:
        # pixel i covers [i, i + 1): its last raster column is one before the box's edge
        corners = np.round(np.asarray(box, np.float64) * RASTER_SCALE * 16 - 8).astype(np.int32)
        cv2.fillPoly(canvas, [corners], 1, shift=4)
    return float(cv2.countNonZero(canvas)) / canvas.size
