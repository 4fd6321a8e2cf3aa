"""CLIP embeddings of the stored pictures, once, for all annotators that judge by them (Radford et al. 2021, arXiv
2103.00020).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from clipmill.curate.contract.annotator import ROLES, Annotator, ClipFrames, FrameRequest, Measure, Rows
from clipmill.curate.contract.column import Column
from clipmill.curate.errors import AnnotatorError
from clipmill.curate.networks.clip import ClipModel, embedding_size, ready_clip
from clipmill.curate.networks.clip_columns import column

# Larger than any network's input, as in the stored pictures.
_SHORT_SIDE_PX = 512
_DOC = (
    "of length 1 (to rounding), of the (cropped) stored picture, resized and cut to the middle square as open_clip does"
)


@dataclass(frozen=True)
class Clip(Annotator):
    """Where the first, middle and last frame lie in CLIP's space.

    network: name of weights of open_clip (`curate weights list`), or a folder that holds them with
    open_clip_config.json.
    batch_pictures: pictures that go through the network at once; no result depends on it but for rounding.
    """

    version: ClassVar[int] = 1
    gpu: ClassVar[float] = 1.0
    from_stored: ClassVar[bool] = True

    network: str = "clip-vit-l-14"
    batch_pictures: int = 48

    @property
    def columns(self) -> Mapping[str, Column]:  # type: ignore[override]  # its types depend on the network
        """Lists of as many numbers as the network makes."""
        kind = pa.list_(pa.float16(), embedding_size(self.network))
        return {column(role): Column(kind, _DOC) for role in ROLES}

    @property
    def frames(self) -> FrameRequest:
        return FrameRequest(roles=ROLES, short_side_px=_SHORT_SIDE_PX)

    @property
    def weights(self) -> tuple[str, ...]:
        return (self.network,)

    @property
    def batch_clips(self) -> int:
        return max(1, self.batch_pictures // len(ROLES))

    def check(self) -> None:
        """Raise UserError for a network that open_clip does not know."""
        embedding_size(self.network)

    def params(self) -> dict[str, Any]:
        """Without the size of a batch, and without the place of a folder: its content counts."""
        return {}

    def load(self, device: str, files: Mapping[str, Path]) -> Measure:
        """Raises UserError where the file does not fit."""
        return partial(_embed, ready_clip(self.network, files[self.network], device))


def _embed(model: ClipModel, clips: Sequence[ClipFrames]) -> Rows:
    if any(len(clip.frames) == 0 for clip in clips):
        raise AnnotatorError("no stored picture")
    vectors = iter(model.pictures([picture for clip in clips for picture in clip.frames]))
    return [{column(role): next(vectors).astype(np.float16) for role in clip.roles} for clip in clips]
