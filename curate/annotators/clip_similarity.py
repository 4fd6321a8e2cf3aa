"""Do captions say what pictures show? Cosine of CLIP's embeddings of both, as in the SVD paper (arXiv 2311.15127,
section 3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from clipmill.curate.contract.annotator import ClipFrames, Measure, Rows
from clipmill.curate.contract.column import Column
from clipmill.curate.errors import AnnotatorError
from clipmill.curate.networks.clip import ClipModel, ready_clip
from clipmill.curate.networks.clip_columns import embeddings
from clipmill.curate.networks.clip_judge import ClipTextJudge, check_size


@dataclass(frozen=True)
class ClipSimilarity(ClipTextJudge):
    """How well each caption fits its clip.

    network: as that of `clip`, whose pictures it judges.
    """

    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "clip_similarity": Column(
            pa.float32(),
            "in [-1, 1], of the caption that fits best, cosine of text and frame, mean over the frames; captions that"
            " fit lie between 0.2 and 0.35. An error where the clip has no caption",
        ),
        "caption_similarities": Column(
            pa.map_(pa.string(), pa.float32()), "from the caption's source to the same for every caption"
        ),
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

    def load(self, device: str, files: Mapping[str, Path]) -> Measure:
        """Raises UserError where the file does not fit."""
        return partial(self._compare, ready_clip(self.network, files[self.network], device))

    def _compare(self, model: ClipModel, clips: Sequence[ClipFrames]) -> Rows:
        """The texts of all clips at once."""
        if not all(clip.captions for clip in clips):
            raise AnnotatorError("no caption")
        texts = list(dict.fromkeys(caption["text"] for clip in clips for caption in clip.captions))
        vectors = dict(zip(texts, model.texts(texts), strict=True))
        return [self._judge(vectors, clip) for clip in clips]

    def _judge(self, vectors: Mapping[str, np.ndarray], clip: ClipFrames) -> dict[str, Any]:
        pictures = embeddings(clip.columns)
        check_size(pictures, len(next(iter(vectors.values()))), f"clip_similarity.network = {self.network}")
        found = {caption["source"]: float((pictures @ vectors[caption["text"]]).mean()) for caption in clip.captions}
        return {"clip_similarity": max(found.values()), "caption_similarities": list(found.items())}
