"""What annotators that judge by CLIP's embeddings have in common: they read what `clip` stored, and look at no picture
again.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from clipmill.curate.contract.annotator import Annotator, ClipFrames
from clipmill.curate.errors import UserError
from clipmill.curate.networks.clip import ClipModel, ready_clip
from clipmill.curate.networks.clip_columns import embeddings


@dataclass(frozen=True)
class ClipJudge(Annotator):
    """Base. Parameters that are places of files are no parameters of the result: the content counts (see
    `Annotator.weights`).
    """

    from_stored: ClassVar[bool] = True

    @property
    def after(self) -> tuple[str, ...]:
        return ("clip",)

    @property
    def batch_clips(self) -> int:
        return 256

    def params(self) -> dict[str, Any]:
        return {}

    @abstractmethod
    def judge(self, clip: ClipFrames, pictures: np.ndarray) -> dict[str, Any]:
        """pictures: float32 [R, D] of length 1, one per role that the clip has, in their order."""

    def __call__(self, clips: Sequence[ClipFrames]) -> list[dict[str, Any]]:
        return [self.judge(clip, embeddings(clip.columns)) for clip in clips]


@dataclass(frozen=True)
class ClipTextJudge(ClipJudge):
    """Base of those that compare pictures with texts. network: as that of `clip`, whose embeddings they read."""

    gpu: ClassVar[float] = 1.0

    network: str = "clip-vit-l-14"

    @property
    def weights(self) -> tuple[str, ...]:
        return (self.network,)

    def setup(self, device: str, files: Mapping[str, Path]) -> None:
        self.__dict__["_model"] = ready_clip(self.network, files[self.network], device)

    @property
    def clip_model(self) -> ClipModel:
        """Ready after `setup`."""
        return self.__dict__["_model"]


def check_size(pictures: np.ndarray, size: int, setting: str) -> None:
    """Raises UserError where what `setting` names belongs to another network than the embeddings: it is so for every
    clip.
    """
    if pictures.shape[1] != size:
        raise UserError(
            f"{setting} takes {size} numbers, the embeddings of `clip` have {pictures.shape[1]}: it is for another"
            " network"
        )
