"""Fingerprints of the role frames for near-duplicate search (see `curate.dedup`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from curate.annotators import ROLES, Annotator, ClipFrames, FrameRequest

THUMB_PX = 32
MIN_STD = 4.0


@dataclass(frozen=True)
class PHash(Annotator):
    """Perceptual hashes inside the crop box.

    phash_first, phash_middle, phash_last: string of 16 hex digits, `imagehash.phash` (signs of the 8 x 8 lowest DCT
    coefficients of the 32 x 32 luma against their median). A string, because a table with nulls would read integers as floats.
    thumb_first, thumb_middle, thumb_last: binary, 32 x 32 uint8 luma, row by row, the frame squeezed to a square.
    Null for frames without structure (luma standard deviation below `min_std` of 255): black, white, near-uniform.

    min_std: luma levels of 255, measured on the 32 x 32 thumb.
    """

    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, pa.DataType]] = {
        **{f"phash_{role}": pa.string() for role in ROLES},
        **{f"thumb_{role}": pa.binary() for role in ROLES},
    }

    min_std: float = MIN_STD

    @property
    def frames(self) -> FrameRequest:
        """The three role frames in gray."""
        return FrameRequest(roles=ROLES, short_side_px=360, gray=True)

    def __call__(self, clips: Sequence[ClipFrames]) -> list[dict[str, Any]]:
        """One dict of the columns per clip."""
        return [self._fingerprints(clip) for clip in clips]

    def _fingerprints(self, clip: ClipFrames) -> dict[str, Any]:
        row: dict[str, Any] = dict.fromkeys(self.columns)
        for role, frame in zip(clip.roles, clip.frames, strict=True):
            thumb = square_thumb(frame)
            if float(thumb.std()) >= self.min_std:
                row[f"phash_{role}"], row[f"thumb_{role}"] = phash64(frame), thumb.tobytes()
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
