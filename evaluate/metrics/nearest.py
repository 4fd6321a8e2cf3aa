"""How far videos are from the nearest one of a set: a model that has learned its training windows by heart is near."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from clipmill.evaluate.distances.checks import check_features
from clipmill.evaluate.metrics import FeatureMetric, Groups, Score

_BLOCK_ROWS = 256


@dataclass(frozen=True)
class Nearest(FeatureMetric):
    """Median over the fake clips of the root mean square difference to the nearest real clip, pixels in [-1, 1] at
    32 px. REAL: the windows that a model was trained on (`models floor` writes them). Near 0, the videos are copies of
    them; how far videos are that are none, held-out clips tell by the same measure.
    """

    title: ClassVar[str] = "difference to the nearest clip (rms of pixels, median)"
    higher_is_better: ClassVar[bool | None] = None
    features: ClassVar[str | None] = "pixels"

    def __call__(self, real: np.ndarray, fake: np.ndarray, seed: int = 0, groups: Groups = None) -> Score:
        """float [N, D], float [M, D] -> Score. Raises UserError for clips of different lengths."""
        check_features(real, fake, 1)
        found = self.per_clip(real, fake)
        low, middle, high = np.quantile(found, [0.25, 0.5, 0.75])
        return Score(float(middle), None, {"quarter": float(low), "three_quarters": float(high)})

    def per_clip(self, real: np.ndarray, fake: np.ndarray) -> np.ndarray:
        """See `FeatureMetric`: its difference to the nearest real clip."""
        return np.concatenate([nearest(real, fake[at : at + _BLOCK_ROWS]) for at in range(0, len(fake), _BLOCK_ROWS)])


def nearest(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """float [N, D], float [M, D] -> float64 [M]: root mean square difference of each row of `fake` to the row of `real`
    that is least different.
    """
    found = np.full(len(fake), np.inf)
    for at in range(0, len(real), _BLOCK_ROWS):
        block = real[at : at + _BLOCK_ROWS].astype(np.float32)
        for row, clip in enumerate(fake.astype(np.float32)):
            found[row] = min(found[row], float(np.square(block - clip).mean(axis=1, dtype=np.float64).min()))
    return np.sqrt(found)
