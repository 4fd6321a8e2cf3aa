"""A caption from what was measured, with nothing downloaded: camera, motion, brightness, colours, length, and text that
was read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from clipmill.curate.captions import CaptionAnnotator
from clipmill.curate.captions.attributes import sentence
from clipmill.curate.captions.cleaning import mended
from clipmill.curate.captions.colours import colour_shares
from clipmill.curate.captions.screen_text import Reader, recognition_model
from clipmill.curate.contract.annotator import ROLES, ClipFrames, FrameRequest, Measure, per_clip
from clipmill.curate.contract.column import Column

_MIDDLE = "middle"
_MIN_LETTERS = 2


@dataclass(frozen=True)
class CaptionAttributes(CaptionAnnotator):
    """What the numbers say in words; it does not guess what is in the picture.

    sample_weight: low, so that training prefers captions that say what is seen; alone, it is always drawn. text_above:
    share of the picture that has to be text before it is read. confidence: of a line that counts as read, 0 to 1.
    n_colours: colours that are named, at most. colour_share: share of the pixels, 0 to 1, from which a colour is named.
    """

    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "caption_attributes": Column(
            pa.string(),
            "length in seconds; direction of the camera and amount of motion (where `motion` runs); dark or bright"
            " (`quality`); contrast and the most frequent colours of the stored pictures; and the text on the middle"
            " picture (where `text` found some), read by rapidocr's network. What was not measured is not said",
        ),
        "caption_attributes_flags": Column(
            pa.list_(pa.string()), "`unread` where `text` found text and none was read with confidence, else empty"
        ),
    }

    sample_weight: float = 0.1
    text_above: float = 0.002
    confidence: float = 0.85
    n_colours: int = 2
    colour_share: float = 0.2

    @property
    def uses(self) -> tuple[str, ...]:
        return ("motion", "quality", "text")

    @property
    def frames(self) -> FrameRequest:
        return FrameRequest(roles=ROLES, short_side_px=512)

    def check(self) -> None:
        """Raise UserError where rapidocr's models are missing."""
        recognition_model()

    def load(self, device: str, files: Mapping[str, Path]) -> Measure:
        """Raises UserError where rapidocr's models are missing."""
        return per_clip(partial(self._describe, Reader(device)))

    def _describe(self, reader: Reader, clip: ClipFrames) -> dict[str, Any]:
        pictures = list(clip.frames) if len(clip.roles) else []
        read, unread = self._read(reader, clip)
        measured = {"duration_s": clip.end_s - clip.start_s} | dict(clip.columns)
        text = sentence(measured, contrast(pictures), self._colours(pictures), read)
        return {"caption_attributes": text, "caption_attributes_flags": ["unread"] if unread else []}

    def _colours(self, pictures: Sequence[np.ndarray]) -> list[str]:
        shares = colour_shares(pictures) if pictures else {}
        return [name for name, share in shares.items() if share >= self.colour_share][: self.n_colours]

    def _read(self, reader: Reader, clip: ClipFrames) -> tuple[list[str], bool]:
        """(lines read with confidence, whether there was text and none of it)."""
        if (clip.columns.get("text_area_middle") or 0.0) < self.text_above or _MIDDLE not in clip.roles:
            return [], False
        lines = reader(clip.frames[clip.roles.index(_MIDDLE)])
        sure = [mended(line.text)[0] for line in lines if line.confidence >= self.confidence]
        kept = [text for text in sure if sum(c.isalnum() for c in text) >= _MIN_LETTERS]
        return list(dict.fromkeys(kept)), not kept


def contrast(pictures: Sequence[np.ndarray]) -> float | None:
    """Standard deviation of luma in levels of 255, median over uint8 [H, W, 3] RGB pictures; None without one."""
    import cv2

    return float(np.median([cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).std() for p in pictures])) if pictures else None
