"""Is it one scene? How alike the frames of a clip are by CLIP: a cut that was missed shows as two pictures of different things."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from curate.annotators import Annotator, ClipFrames
from curate.annotators.clip import embeddings


@dataclass(frozen=True)
class MissedCut(Annotator):
    """Similarity of a clip's frames.

    clip_first_similarity: float32 in [-1, 1], smallest cosine of the first frame's embedding to those of the others. Frames of one shot
    lie above 0.8 as a rule (EasyAnimate's limit); null where the clip has one picture.
    """

    version: ClassVar[int] = 1
    from_stored: ClassVar[bool] = True
    columns: ClassVar[Mapping[str, pa.DataType]] = {"clip_first_similarity": pa.float32()}

    @property
    def after(self) -> tuple[str, ...]:
        return ("clip",)

    @property
    def batch_clips(self) -> int:
        return 256

    def __call__(self, clips: Sequence[ClipFrames]) -> list[dict[str, Any]]:
        return [{"clip_first_similarity": self._smallest(clip)} for clip in clips]

    def _smallest(self, clip: ClipFrames) -> float | None:
        first, *others = embeddings(clip.columns)
        return float(min(first @ other for other in others)) if others else None
