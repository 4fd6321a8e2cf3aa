"""Aesthetic score: LAION's heads on CLIP embeddings, as in the SVD paper (arXiv 2311.15127, section 3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from clipmill.curate.contract.annotator import ROLES, ClipFrames, Measure, per_clip
from clipmill.curate.contract.column import Column
from clipmill.curate.networks.aesthetic_heads import Head, load_head
from clipmill.curate.networks.clip_columns import embeddings, roles_of
from clipmill.curate.networks.clip_judge import ClipJudge, check_size


@dataclass(frozen=True)
class Aesthetics(ClipJudge):
    """How pleasing people would find the pictures.

    head: name of the head's weights (`curate weights list`), or a file; it belongs to the CLIP network that it was
    trained on.
    """

    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "aesthetics": Column(
            pa.float32(),
            "mean over the frames; the heads were fitted to ratings from 1 to 10, most footage lies between 3 and 7",
        ),
        **{f"aesthetics_{role}": Column(pa.float32(), f"the same for the {role} frame") for role in ROLES},
    }

    head: str = "aesthetics-mlp-vit-l-14"

    @property
    def weights(self) -> tuple[str, ...]:
        return (self.head,)

    def load(self, device: str, files: Mapping[str, Path]) -> Measure:
        """Raises UserError where the file is no head."""
        return per_clip(partial(self._judge, load_head(files[self.head])))

    def _judge(self, head: Head, clip: ClipFrames) -> dict[str, Any]:
        pictures = embeddings(clip.columns)
        check_size(pictures, head.size, f"aesthetics.head = {self.head}")
        scores = head(pictures)
        by_role = {
            f"aesthetics_{role}": float(score) for role, score in zip(roles_of(clip.columns), scores, strict=True)
        }
        return {"aesthetics": float(scores.mean())} | by_role
