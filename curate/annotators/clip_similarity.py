"""Do captions say what pictures show? Cosine of CLIP's embeddings of both, as in the SVD paper (arXiv 2311.15127, section 3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from curate.annotators import Annotator, ClipFrames
from curate.annotators.clip import embeddings
from curate.clip_model import ready_clip
from curate.errors import AnnotatorError, UserError


@dataclass(frozen=True)
class ClipSimilarity(Annotator):
    """How well each caption fits its clip.

    clip_similarity: float32 in [-1, 1], of the caption that fits best, cosine of text and frame, mean over the frames; captions
    that fit lie between 0.2 and 0.35. An error where the clip has no caption.
    caption_similarities: map from the caption's source to float32, the same for every caption.

    network: as that of `clip`, whose pictures it judges.
    """

    version: ClassVar[int] = 1
    gpu: ClassVar[float] = 1.0
    from_stored: ClassVar[bool] = True
    columns: ClassVar[Mapping[str, pa.DataType]] = {
        "clip_similarity": pa.float32(),
        "caption_similarities": pa.map_(pa.string(), pa.float32()),
    }

    network: str = "clip-vit-l-14"

    @property
    def weights(self) -> tuple[str, ...]:
        return (self.network,)

    @property
    def after(self) -> tuple[str, ...]:
        return ("clip",)

    @property
    def uses(self) -> tuple[str, ...]:
        return ("caption_*",)

    @property
    def batch_clips(self) -> int:
        return 64

    def params(self) -> dict[str, Any]:
        """None: the content of the weights counts, not their place."""
        return {}

    def setup(self, device: str, files: Mapping[str, Path]) -> None:
        self.__dict__["_model"] = ready_clip(self.network, files[self.network], device)

    def __call__(self, clips: Sequence[ClipFrames]) -> list[dict[str, Any]]:
        if not all(clip.captions for clip in clips):
            raise AnnotatorError("no caption")
        texts = list(dict.fromkeys(caption["text"] for clip in clips for caption in clip.captions))
        vectors = dict(zip(texts, self.__dict__["_model"].texts(texts), strict=True))
        return [self._fit(clip, vectors) for clip in clips]

    def _fit(self, clip: ClipFrames, vectors: Mapping[str, np.ndarray]) -> dict[str, Any]:
        pictures = embeddings(clip.columns)
        if pictures.shape[1] != len(next(iter(vectors.values()))):
            raise UserError(f"clip_similarity.network = {self.network} is another network than clip's")
        found = {caption["source"]: float((pictures @ vectors[caption["text"]]).mean()) for caption in clip.captions}
        return {"clip_similarity": max(found.values()), "caption_similarities": list(found.items())}
