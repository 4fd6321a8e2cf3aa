"""Captions from a vision-language model behind any OpenAI-compatible server."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from clipmill.curate.captions import FLAGS
from clipmill.curate.captions.served import ServedCaptions
from clipmill.curate.contract.annotator import ROLES, ClipFrames, FrameRequest
from clipmill.curate.contract.column import Column
from clipmill.curate.errors import AnnotatorError, UserError
from clipmill.curate.video.picture import encode_jpeg

PROMPT = (
    "These are frames of one short video clip, in their order. Describe the clip in one to three plain sentences: who"
    " or what is seen, what happens, the surroundings, and how the camera moves. Say only what is visible. No"
    " introduction, no list."
)


@dataclass(frozen=True)
class CaptionServer(ServedCaptions):
    """What a vision-language model says of the stored pictures.

    base_url, model, prompt, prompt_file, max_tokens, temperature, seed, concurrency, timeout_s, retries, backoff_s,
    requests_per_minute, key_variable: see `clipmill.curate.captions.served`. roles: the pictures that are sent, of
    first, middle, last. short_side_px, jpeg_quality: as which they are sent.
    """

    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "caption_server": Column(
            pa.string(),
            "its answer, cleaned. An error, with its kind, where it gave none: refused, unreachable, timeout, dropped,"
            " http N, garbage or refusal; `curate annotate RUN --only caption_server --retry-errors` asks for those"
            " again",
        ),
        "caption_server_flags": FLAGS,
    }

    prompt: str = PROMPT
    roles: tuple[str, ...] = ROLES
    short_side_px: int = 448
    jpeg_quality: int = 88

    @property
    def frames(self) -> FrameRequest:
        return FrameRequest(roles=self.roles, short_side_px=self.short_side_px)

    def check(self) -> None:
        """Raise UserError for pictures that are not stored, and as the base does."""
        if not self.roles or not set(self.roles) <= set(ROLES):
            raise UserError(f"caption_server.roles are some of {', '.join(ROLES)}")
        super().check()

    def content(self, clip: ClipFrames, prompt: str) -> list[dict[str, Any]]:
        if len(clip.frames) == 0:
            raise AnnotatorError("no stored picture")
        return [*(self._picture(frame) for frame in clip.frames), {"type": "text", "text": prompt}]

    def _picture(self, frame: Any) -> dict[str, Any]:
        data = base64.b64encode(encode_jpeg(frame, self.jpeg_quality)).decode()
        return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}}
