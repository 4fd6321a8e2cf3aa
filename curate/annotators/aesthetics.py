"""Aesthetic score: LAION's heads on CLIP embeddings, as in the SVD paper (arXiv 2311.15127, section 3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from curate.aesthetic_heads import Head, load_head
from curate.annotators import ROLES, Annotator, ClipFrames
from curate.annotators.clip import column, embeddings
from curate.errors import UserError


@dataclass(frozen=True)
class Aesthetics(Annotator):
    """How pleasing people would find the pictures.

    aesthetics: float32, mean over the frames; the heads were fitted to ratings from 1 to 10, most footage lies between 3 and 7.
    aesthetics_first, aesthetics_middle, aesthetics_last: float32, the same for each frame.

    head: name of the head's weights (`curate weights list`), or a file; it belongs to the CLIP network that it was trained on.
    """

    version: ClassVar[int] = 1
    from_stored: ClassVar[bool] = True
    columns: ClassVar[Mapping[str, pa.DataType]] = {
        "aesthetics": pa.float32(),
        **{f"aesthetics_{role}": pa.float32() for role in ROLES},
    }

    head: str = "aesthetics-mlp-vit-l-14"

    @property
    def weights(self) -> tuple[str, ...]:
        return (self.head,)

    @property
    def after(self) -> tuple[str, ...]:
        return ("clip",)

    @property
    def batch_clips(self) -> int:
        return 256

    def params(self) -> dict[str, Any]:
        """None: the content of the head counts, not its place."""
        return {}

    def setup(self, device: str, files: Mapping[str, Path]) -> None:
        """Raises UserError where the file is no head."""
        self.__dict__["_head"] = load_head(files[self.head])

    def __call__(self, clips: Sequence[ClipFrames]) -> list[dict[str, Any]]:
        return [self._score(clip) for clip in clips]

    def _score(self, clip: ClipFrames) -> dict[str, Any]:
        head: Head = self.__dict__["_head"]
        vectors = embeddings(clip.columns)
        if vectors.shape[1] != head.size:
            raise UserError(f"the head {self.head} takes {head.size} numbers, the embeddings have {vectors.shape[1]}: another network")
        scores = head(vectors)
        roles = [role for role in ROLES if clip.columns.get(column(role)) is not None]
        by_role = {f"aesthetics_{role}": float(score) for role, score in zip(roles, scores, strict=True)}
        return {"aesthetics": float(scores.mean())} | by_role
