"""Captions of the middle picture by CoCa, as in the SVD paper (arXiv 2311.15127, section 3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from clipmill.curate.captions import FLAGS
from clipmill.curate.captions.coca import Coca
from clipmill.curate.captions.local import LocalCaptions
from clipmill.curate.contract.annotator import ClipFrames, FrameRequest, Measure, Rows
from clipmill.curate.contract.column import Column
from clipmill.curate.errors import AnnotatorError, UserError
from clipmill.curate.networks.clip import embedding_size


@dataclass(frozen=True)
class CaptionCoca(LocalCaptions):
    """What CoCa sees on the middle picture.

    network: name of weights of open_clip's CoCa (`curate weights list`), or a folder that holds them with
    open_clip_config.json.
    n_beams: sequences kept by the search; 1 takes the likeliest word each time. max_tokens: pieces of words, at most.
    batch_pictures: pictures that go through the network at once, fewer are filled up; no result depends on it but for
    rounding.
    """

    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "caption_coca": Column(pa.string(), "one sentence, cleaned. An error where nothing is left of it"),
        "caption_coca_flags": FLAGS,
    }

    sample_weight: float = 0.5
    network: str = "coca-vit-l-14"
    n_beams: int = 4
    max_tokens: int = 30
    batch_pictures: int = 16

    @property
    def frames(self) -> FrameRequest:
        return FrameRequest(roles=("middle",), short_side_px=512)

    @property
    def batch_clips(self) -> int:
        return self.batch_pictures

    def params(self) -> dict[str, Any]:
        """Those of the search. The content of the weights counts, not their place."""
        return {"n_beams": self.n_beams, "max_tokens": self.max_tokens}

    def check(self) -> None:
        """Raise UserError for a network that open_clip does not know, and for a search that writes nothing."""
        if self.n_beams < 1 or self.max_tokens < 2:
            raise UserError("caption_coca needs n_beams >= 1 and max_tokens >= 2")
        embedding_size(self.network)

    def load(self, device: str, files: Mapping[str, Path]) -> Measure:
        """Raises UserError where the file does not fit."""
        return partial(self._write, Coca(self.network, files[self.network], device, self.n_beams, self.max_tokens))

    def _write(self, coca: Coca, clips: Sequence[ClipFrames]) -> Rows:
        """One dict of the columns per clip, or why there is none."""
        if any(len(clip.frames) == 0 for clip in clips):
            raise AnnotatorError("no stored picture")
        found = coca.captions([clip.frames[0] for clip in clips], self.batch_pictures)
        return [self.row_or_why_not(text, ended) for text, ended in found]
