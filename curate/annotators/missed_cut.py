"""Is it one scene? How alike the frames of a clip are by CLIP: a cut that was missed shows as two pictures of different
things.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from clipmill.curate.contract.annotator import ClipFrames
from clipmill.curate.contract.column import Column
from clipmill.curate.networks.clip_columns import embeddings
from clipmill.curate.networks.clip_judge import ClipJudge


@dataclass(frozen=True)
class MissedCut(ClipJudge):
    """Similarity of a clip's frames."""

    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "clip_first_similarity": Column(
            pa.float32(),
            "in [-1, 1], smallest cosine of the first frame's embedding to those of the others. Frames of one shot lie"
            " above 0.8 as a rule (EasyAnimate's limit); null where the clip has one picture",
        )
    }

    def measure(self, clip: ClipFrames) -> dict[str, Any]:
        """The column, from the embeddings that `clip` made."""
        first, *others = embeddings(clip.columns)
        return {"clip_first_similarity": float(min(first @ other for other in others)) if others else None}
