"""One caption out of several: a language model merges them, as in the SVD paper (arXiv 2311.15127, section 3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa

from clipmill.curate.captions import FLAGS
from clipmill.curate.captions.served import ServedCaptions
from clipmill.curate.contract.annotator import ClipFrames
from clipmill.curate.contract.captions import PREFIX
from clipmill.curate.contract.column import Column
from clipmill.curate.errors import AnnotatorError, UserError

PROMPT = (
    "Below are descriptions of the same short video clip by different programs. Merge them into one description of one"
    " to three plain sentences. Use only what they say; where they contradict each other, keep what is more specific"
    " and leave out what is doubtful. No introduction, no list."
)
_SIDECAR = "sidecar"


@dataclass(frozen=True)
class CaptionMerge(ServedCaptions):
    """What a language model makes of the clip's other captions; it sees no picture.

    base_url, model, prompt, prompt_file, max_tokens, temperature, seed, concurrency, timeout_s, retries, backoff_s,
    requests_per_minute, key_variable: see `clipmill.curate.captions.served`. sources: which captions are merged, in
    this order, by the ends of their annotators' names, or sidecar; those whose annotators do not run are left out.
    """

    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "caption_merge": Column(
            pa.string(),
            "its answer, cleaned. An error, with its kind, where it gave none (as for caption_server), and where the"
            " clip has fewer than two of the captions to merge: one alone is no second opinion, and training would draw"
            " it twice",
        ),
        "caption_merge_flags": FLAGS,
    }

    sample_weight: float = 0.25
    prompt: str = PROMPT
    sources: tuple[str, ...] = ("coca", "video")

    @property
    def uses(self) -> tuple[str, ...]:
        return tuple(PREFIX + source for source in self.sources if source != _SIDECAR)

    @property
    def reads_sidecar(self) -> bool:
        return _SIDECAR in self.sources

    def check(self) -> None:
        """Raise UserError for fewer than two sources, and as the base does."""
        if len(set(self.sources)) < 2 or "merge" in self.sources:
            raise UserError("caption_merge.sources are two or more other captions, for example ['coca', 'video']")
        super().check()

    def content(self, clip: ClipFrames, prompt: str) -> str:
        texts = {caption["source"]: caption["text"] for caption in clip.captions if caption["source"] in self.sources}
        if len(texts) < 2:
            raise AnnotatorError(
                f"fewer than two captions to merge: {', '.join(texts) or 'none'} of {', '.join(self.sources)}"
            )
        listed = "\n".join(
            f"{i}. {texts[source]}" for i, source in enumerate((s for s in self.sources if s in texts), 1)
        )
        return f"{prompt}\n\n{listed}"
