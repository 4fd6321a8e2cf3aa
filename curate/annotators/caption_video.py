"""Captions of several pictures of the clip by a vision-language network of transformers, as the SVD paper's second
captions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from clipmill.curate.captions import FLAGS
from clipmill.curate.captions.local import LocalCaptions
from clipmill.curate.captions.vision_language import VisionLanguage, check_transformers
from clipmill.curate.contract.annotator import ROLES, ClipFrames, FrameRequest, Measure, Rows
from clipmill.curate.contract.column import Column
from clipmill.curate.errors import AnnotatorError, UserError


@dataclass(frozen=True)
class CaptionVideo(LocalCaptions):
    """What a vision-language network says of the stored pictures.

    network: name of weights (`curate weights list`), or a folder with a network and its processor as transformers saves
    them: BLIP-2, whose Q-Former looks at all pictures side by side as in VideoBLIP, or any network of the kind
    `image-text-to-text`. roles: the pictures it sees, of first, middle, last. prompt: none asks BLIP-2 nothing, and
    others to describe the clip. max_tokens: of the text, at most.
    n_beams: sequences kept by the search. batch_clips_at_once: clips that go through the network at once; no result
    depends on it but for rounding.
    """

    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "caption_video": Column(pa.string(), "cleaned. An error where the network declined or nothing is left"),
        "caption_video_flags": FLAGS,
    }

    sample_weight: float = 0.25
    network: str = "blip2-opt"
    roles: tuple[str, ...] = ROLES
    prompt: str | None = None
    max_tokens: int = 60
    n_beams: int = 3
    batch_clips_at_once: int = 4

    @property
    def frames(self) -> FrameRequest:
        return FrameRequest(roles=self.roles, short_side_px=512)

    @property
    def batch_clips(self) -> int:
        return self.batch_clips_at_once

    def params(self) -> dict[str, Any]:
        """Those that decide the text. The content of the weights counts, not their place."""
        return {key: value for key, value in super().params().items() if key not in ("network", "batch_clips_at_once")}

    def check(self) -> None:
        """Raise UserError for pictures that are not stored, and where transformers is not installed."""
        if not self.roles or not set(self.roles) <= set(ROLES):
            raise UserError(f"caption_video.roles are some of {', '.join(ROLES)}")
        if self.max_tokens < 1 or self.n_beams < 1:
            raise UserError("caption_video needs max_tokens >= 1 and n_beams >= 1")
        check_transformers()

    def load(self, device: str, files: Mapping[str, Path]) -> Measure:
        """Raises UserError where the folder holds no network of this kind."""
        return partial(self._write, VisionLanguage(files[self.network], device))

    def _write(self, network: VisionLanguage, clips: Sequence[ClipFrames]) -> Rows:
        """One dict of the columns per clip, or why there is none. A clip without all its pictures is done alone, with
        those it has.
        """
        if any(len(clip.roles) == 0 for clip in clips):
            raise AnnotatorError("no stored picture")
        if len({len(clip.roles) for clip in clips}) > 1:
            return [row for clip in clips for row in self._write(network, [clip])]
        # Filled up with the last, so that what is written of a clip does not depend on how many others there are.
        pictures = [list(clip.frames) for clip in clips] + [list(clips[-1].frames)] * (
            self.batch_clips_at_once - len(clips)
        )
        found = network.captions(pictures, self.prompt, self.max_tokens, self.n_beams)
        return [self.row_or_why_not(text, ended) for text, ended in found[: len(clips)]]
