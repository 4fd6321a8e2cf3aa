"""Black borders (letterbox, pillarbox, window box) and the picture's box inside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from clipmill.curate.contract.annotator import Annotator, ClipFrames
from clipmill.curate.contract.column import Column

MAX_BLACK = 40
BAR_NOISE = 10
EDGE_STEP = 6
SPILL_PX = 8
_BOX = (
    "display px of the full picture; the whole picture where there is no evidence (no border, or no frame bright enough"
    " to tell a border from a dark scene)"
)
SIDES = ("top", "bottom", "left", "right")


@dataclass(frozen=True)
class Borders(Annotator):
    """The box of the picture inside its black borders, over all sampled frames of the clip.

    A line belongs to a border where 98 % of it lies within noise of the black that the outermost lines show. A border
    counts where it has a straight inner edge: in at least one bright frame the picture begins along `min_edge` of its
    length at the same line. So skies at night and vignettes are no borders. The shallowest depth of all bright frames
    counts, so nothing of the picture is cut off; lines with subtitles are picture.

    min_lit: share of the full picture, 0 to 1, above black from which a frame is evidence. min_edge: share of the
    edge's length, 0 to 1. min_share: least depth of a border as a share of the picture's height or width (and at least
    2 px).
    """

    version: ClassVar[int] = 1
    observe_fps: ClassVar[float] = 1.0
    columns: ClassVar[Mapping[str, Column]] = {
        **{f"crop_{side}": Column(pa.int32(), _BOX) for side in "xywh"},
        "border_share": Column(pa.float32(), "in [0, 1), share of the full picture outside the box"),
    }

    min_lit: float = 0.15
    min_edge: float = 0.5
    min_share: float = 0.004

    def observe(self, luma: np.ndarray) -> np.ndarray:
        """uint8 [H, W] -> float32 [9]: depth in px of the dark lines at top, bottom, left, right; edge support of each;
        lit share.
        """
        return frame_borders(luma)

    def measure(self, clip: ClipFrames) -> dict[str, Any]:
        """The columns, from what was observed."""
        width, height = clip.width_px, clip.height_px
        rows = clip.observed.reshape(-1, 9)
        bright = rows[rows[:, 8] >= self.min_lit]
        depths = [self._depth(bright[:, i], bright[:, 4 + i], n) for i, n in enumerate((height, height, width, width))]
        top, bottom, left, right = depths
        crop_w, crop_h = width - left - right, height - top - bottom
        if min(crop_w, crop_h) < 1:
            left, top, crop_w, crop_h = 0, 0, width, height
        share = 1 - crop_w * crop_h / (width * height)
        return {"crop_x": left, "crop_y": top, "crop_w": crop_w, "crop_h": crop_h, "border_share": share}

    def _depth(self, depth_px: np.ndarray, support: np.ndarray, size_px: int) -> int:
        if len(depth_px) == 0:
            return 0
        depth = int(depth_px.min())
        edge = float(support[depth_px <= depth + 2].max())
        return depth if depth >= max(2, self.min_share * size_px) and edge >= self.min_edge else 0


def frame_borders(luma: np.ndarray) -> np.ndarray:
    """See `Borders.observe`. A side whose outermost lines are not black has depth 0; an all-black frame has lit share
    0.
    """
    import cv2

    height, width = luma.shape
    black = _black_level(luma)
    if black is None:
        return np.array([0] * 8 + [1], np.float32)
    lit = np.asarray(cv2.compare(luma, np.array(black + BAR_NOISE), cv2.CMP_GT))
    rows = _lit_share(lit, 1)
    top, bottom = _depth(rows), _depth(rows[::-1])
    if top + bottom >= height:
        return np.zeros(9, np.float32)
    cols = _lit_share(lit[top : height - bottom], 0)
    left, right = _depth(cols), _depth(cols[::-1])
    if left + right >= width:
        return np.zeros(9, np.float32)
    picture = luma[top : height - bottom, left : width - right]
    threshold = black + BAR_NOISE + EDGE_STEP
    support = [_edge(side, threshold) for side in (picture, picture[::-1], picture.T, picture.T[::-1])]
    return np.array([top, bottom, left, right, *support, float(rows.mean())], np.float32)


def _black_level(luma: np.ndarray) -> float | None:
    """Luma of the darkest of the four edge strips, None where none is black."""
    depth = max(1, min(luma.shape) // 128)
    strips = (luma[:depth], luma[-depth:], luma[:, :depth], luma[:, -depth:])
    level = min(float(np.median(s)) for s in strips)
    return level if level <= MAX_BLACK else None


def _lit_share(lit: np.ndarray, axis: int) -> np.ndarray:
    """uint8 [h, w] of 0 and 255 -> float [h] (axis 1) or [w] (axis 0), share of each line that is lit."""
    import cv2

    return cv2.reduce(lit, axis, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel() / 255


def _depth(lit_share: np.ndarray) -> int:
    """Number of leading lines outside the picture: at most 2 % lit, then lines with coding noise that spills over the
    edge.
    """
    light = np.flatnonzero(lit_share > 0.02)
    if len(light) == 0:
        return len(lit_share)
    first = int(light[0])
    if first == 0:
        return 0
    spill = lit_share[first : first + min(SPILL_PX, 1 + len(lit_share) // 16)]
    return first + int(np.argmax(spill >= 0.5 * spill.max()))


def _edge(picture: np.ndarray, threshold: float) -> float:
    """Share of the first lines' length along which the picture is light within a few lines of the border."""
    depth = max(2, picture.shape[0] // 48)
    return float((picture[:depth].max(axis=0) > threshold).mean())
