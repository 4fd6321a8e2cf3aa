"""Do captions say what pictures show? Cosine of CLIP's embeddings of both, as in the SVD paper (arXiv 2311.15127,
section 3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from clipmill.curate.contract.annotator import ClipFrames
from clipmill.curate.errors import AnnotatorError
from clipmill.curate.networks.clip_judge import ClipTextJudge, check_size


@dataclass(frozen=True)
class ClipSimilarity(ClipTextJudge):
    """How well each caption fits its clip.

    clip_similarity: float32 in [-1, 1], of the caption that fits best, cosine of text and frame, mean over the frames;
    captions that fit lie between 0.2 and 0.35. An error where the clip has no caption.
    caption_similarities: map from the caption's source to float32, the same for every caption.

    network: as that of `clip`, whose pictures it judges.
    """

    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, pa.DataType]] = {
        "clip_similarity": pa.float32(),
        "caption_similarities": pa.map_(pa.string(), pa.float32()),
    }

    @property
    def uses(self) -> tuple[str, ...]:
        return ("caption_*",)

    @property
    def reads_sidecar(self) -> bool:
        return True

    @property
    def batch_clips(self) -> int:
        return 64

    def __call__(self, clips: Sequence[ClipFrames]) -> list[dict[str, Any]]:
        """The texts of all clips at once, then as the base."""
        if not all(clip.captions for clip in clips):
            raise AnnotatorError("no caption")
        texts = list(dict.fromkeys(caption["text"] for clip in clips for caption in clip.captions))
        self.__dict__["_vectors"] = dict(zip(texts, self.clip_model.texts(texts), strict=True))
        return super().__call__(clips)

    def judge(self, clip: ClipFrames, pictures: np.ndarray) -> dict[str, Any]:
        vectors: Mapping[str, np.ndarray] = self.__dict__["_vectors"]
        check_size(pictures, len(next(iter(vectors.values()))), f"clip_similarity.network = {self.network}")
        found = {caption["source"]: float((pictures @ vectors[caption["text"]]).mean()) for caption in clip.captions}
        return {"clip_similarity": max(found.values()), "caption_similarities": list(found.items())}
