"""Aesthetic score: LAION's heads on CLIP embeddings, as in the SVD paper (arXiv 2311.15127, section 3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from clipmill.curate.contract.annotator import ROLES, ClipFrames
from clipmill.curate.networks.aesthetic_heads import Head, load_head
from clipmill.curate.networks.clip_columns import roles_of
from clipmill.curate.networks.clip_judge import ClipJudge, check_size


@dataclass(frozen=True)
class Aesthetics(ClipJudge):
    """How pleasing people would find the pictures.

    aesthetics: float32, mean over the frames; the heads were fitted to ratings from 1 to 10, most footage lies between
    3 and 7.
    aesthetics_first, aesthetics_middle, aesthetics_last: float32, the same for each frame.

    head: name of the head's weights (`curate weights list`), or a file; it belongs to the CLIP network that it was
    trained on.
    """

    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, pa.DataType]] = {
        "aesthetics": pa.float32(),
        **{f"aesthetics_{role}": pa.float32() for role in ROLES},
    }

    head: str = "aesthetics-mlp-vit-l-14"

    @property
    def weights(self) -> tuple[str, ...]:
        return (self.head,)

    def setup(self, device: str, files: Mapping[str, Path]) -> None:
        """Raises UserError where the file is no head."""
        self.__dict__["_head"] = load_head(files[self.head])

    def judge(self, clip: ClipFrames, pictures: np.ndarray) -> dict[str, Any]:
        head: Head = self.__dict__["_head"]
        check_size(pictures, head.size, f"aesthetics.head = {self.head}")
        scores = head(pictures)
        by_role = {
            f"aesthetics_{role}": float(score) for role, score in zip(roles_of(clip.columns), scores, strict=True)
        }
        return {"aesthetics": float(scores.mean())} | by_role
