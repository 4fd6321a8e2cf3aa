"""Fingerprints of the first, middle and last frames, for near duplicates (see `clipmill.curate.duplicates.near`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from clipmill.curate.contract.annotator import ROLES, Annotator, ClipFrames, FrameRequest
from clipmill.curate.contract.column import Column

THUMB_PX = 32
MIN_STD = 4.0
_PHASH = (
    "16 hex digits, `imagehash.phash` (signs of the 8 x 8 lowest DCT coefficients of the 32 x 32 luma against their"
    " median). A string, because a table with nulls would read integers as floats"
)
_THUMB = (
    "32 x 32 uint8 lumas, row by row, each frame squeezed to a square: the role's own frame, then its neighbours within"
    " `tolerance_s` inside the clip, because the two ends of a copy are seldom cut on the same frame. Null for frames"
    " without structure (luma standard deviation below `min_std` of 255): black, white, near-uniform"
)


@dataclass(frozen=True)
class PHash(Annotator):
    """Perceptual hashes inside the crop box.

    fps: sampling rate, 1/s. tolerance_s: s. min_std: luma levels of 255, measured on the 32 x 32 thumb.
    """

    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        **{f"phash_{role}": Column(pa.string(), _PHASH) for role in ROLES},
        **{f"thumb_{role}": Column(pa.binary(), _THUMB) for role in ROLES},
    }

    fps: float = 8.0
    tolerance_s: float = 0.5
    min_std: float = MIN_STD

    @property
    def frames(self) -> FrameRequest:
        """Small gray frames at `fps`."""
        return FrameRequest(fps=self.fps, short_side_px=48, gray=True)

    def measure(self, clip: ClipFrames) -> dict[str, Any]:
        """The columns; all null where the clip has no frame."""
        row: dict[str, Any] = dict.fromkeys(self.columns)
        n = len(clip.frames)
        if n == 0:
            return row
        middle = int(np.argmin(np.abs(clip.t_s - (clip.t_s[0] + clip.t_s[-1]) / 2)))
        # The ends reach inwards only; the middle of a copy moves half as far as its ends.
        for role, own, reach_s in zip(ROLES, (0, middle, n - 1), (1.0, 0.5, 1.0), strict=True):
            near = np.abs(clip.t_s - clip.t_s[own]) <= self.tolerance_s * reach_s + 1e-6
            thumbs = [square_thumb(clip.frames[i]) for i in (own, *(int(i) for i in np.flatnonzero(near) if i != own))]
            if float(thumbs[0].std()) >= self.min_std:
                row[f"phash_{role}"] = phash64(clip.frames[own])
                row[f"thumb_{role}"] = b"".join(t.tobytes() for t in thumbs)
        return row


def phash64(gray: np.ndarray) -> str:
    """`imagehash.phash` of a gray frame, uint8 [H, W], as 16 hex digits."""
    import imagehash
    from PIL import Image

    return str(imagehash.phash(Image.fromarray(gray)))


def square_thumb(gray: np.ndarray) -> np.ndarray:
    """uint8 [H, W] -> uint8 [32, 32], area mean."""
    import cv2

    return np.asarray(cv2.resize(gray, (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA))
