"""Tags without training: which of two texts CLIP finds nearer to a picture (Radford et al. 2021, arXiv 2103.00020,
section 3.1).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from clipmill.curate.contract.annotator import ClipFrames, Measure, per_clip
from clipmill.curate.contract.column import Column
from clipmill.curate.errors import UserError
from clipmill.curate.networks.clip import ready_clip
from clipmill.curate.networks.clip_columns import embeddings
from clipmill.curate.networks.clip_judge import ClipTextJudge, check_size

_PLAIN = "a photo"
_PAIRS = {
    "watermark": ("a photo with a watermark or a logo over it", "a photo without any watermark or logo"),
    "nsfw": ("an explicit photo of naked people", "a photo that is safe for work"),
}


@dataclass(frozen=True)
class ZeroShot(ClipTextJudge):
    """What CLIP takes the pictures for. Probabilities are its own and not calibrated: look at examples before you set a
    limit.

    tags: texts such as "a photo of a dog", or "dog = a photo of a dog" to name the tag. tag_from: probability, 0 to
    1, from which a clip has the tag. network: as that of `clip`.
    """

    version: ClassVar[int] = 1
    columns: ClassVar[Mapping[str, Column]] = {
        "watermark_probability": Column(
            pa.float32(),
            'in [0, 1], "a photo with a watermark or a logo over it" against one without; mean over the frames',
        ),
        "nsfw_probability": Column(pa.float32(), "in [0, 1], explicit against safe for work; largest of the frames"),
        "zero_shot": Column(
            pa.map_(pa.string(), pa.float32()),
            'from tag to [0, 1], the tag\'s text against "a photo", mean over the frames',
        ),
        "zero_shot_tags": Column(pa.list_(pa.string()), "the tags whose probability is at least `tag_from`"),
    }

    tags: tuple[str, ...] = ()
    tag_from: float = 0.5

    def params(self) -> dict[str, Any]:
        return {"tags": list(self.tags), "tag_from": self.tag_from}

    def check(self) -> None:
        """Raise UserError for two tags of one name."""
        names = [name for name, _ in self._texts()]
        if len(set(names)) < len(names):
            raise UserError("zero_shot.tags holds two tags of one name")

    def load(self, device: str, files: Mapping[str, Path]) -> Measure:
        """Raises UserError where the file does not fit."""
        model = ready_clip(self.network, files[self.network], device)
        pairs = [*_PAIRS.values(), *((text, _PLAIN) for _, text in self._texts())]
        vectors = model.texts([text for pair in pairs for text in pair])
        # P(first) = sigmoid(scale * (cosine to the first - cosine to the second))
        return per_clip(partial(self._judge, model.scale * (vectors[0::2] - vectors[1::2])))

    def _judge(self, directions: np.ndarray, clip: ClipFrames) -> dict[str, Any]:
        """directions: float32 [pairs, D]."""
        pictures = embeddings(clip.columns)
        check_size(pictures, directions.shape[1], f"zero_shot.network = {self.network}")
        found = 1 / (1 + np.exp(-(pictures @ directions.T)))
        (watermark, nsfw), rest = found.T[:2], found.T[2:].mean(axis=1)
        tags = {name: float(p) for (name, _), p in zip(self._texts(), rest, strict=True)}
        return {
            "watermark_probability": float(watermark.mean()),
            "nsfw_probability": float(nsfw.max()),
            "zero_shot": list(tags.items()),
            "zero_shot_tags": [name for name, p in tags.items() if p >= self.tag_from],
        }

    def _texts(self) -> list[tuple[str, str]]:
        """(tag, text)."""
        parts = [text.partition("=") for text in self.tags]
        return [(name.strip(), text.strip() if equals else name.strip()) for name, equals, text in parts]
