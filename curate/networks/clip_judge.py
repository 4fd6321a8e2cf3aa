"""What annotators that judge by CLIP's embeddings have in common: they read what `clip` stored, and look at no picture
again.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from clipmill.curate.contract.annotator import Annotator
from clipmill.curate.errors import UserError


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


@dataclass(frozen=True)
class ClipTextJudge(ClipJudge):
    """Base of those that compare pictures with texts. network: as that of `clip`, whose embeddings they read."""

    gpu: ClassVar[float] = 1.0

    network: str = "clip-vit-l-14"

    @property
    def weights(self) -> tuple[str, ...]:
        return (self.network,)


def check_size(pictures: np.ndarray, size: int, setting: str) -> None:
    """Raises UserError where what `setting` names belongs to another network than the embeddings: it is so for every
    clip.
    """
    if pictures.shape[1] != size:
        raise UserError(
            f"{setting} takes {size} numbers, the embeddings of `clip` have {pictures.shape[1]}: it is for another"
            " network"
        )
