"""Precision: how much of what was generated looks real."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from clipmill.evaluate.distances.checks import check_features
from clipmill.evaluate.distances.precision_recall import covered, covered_share
from clipmill.evaluate.metrics import FeatureMetric, Groups, Score


@dataclass(frozen=True)
class Precision(FeatureMetric):
    """Share of fake clips inside the manifold of the real ones, 0 to 1 (Kynkäänniemi et al. 2019, arXiv 1904.06991).

    k: a ball reaches from each real clip to its k-th nearest other one. Depends on the number of real clips: compare at
    equal counts.
    """

    title: ClassVar[str] = "precision ({features})"
    higher_is_better: ClassVar[bool | None] = True

    k: int = 3

    def __call__(self, real: np.ndarray, fake: np.ndarray, seed: int = 0, groups: Groups = None) -> Score:
        """float [N, D], float [M, D] -> Score. Raises UserError for N <= k."""
        check_features(real, fake, 1)
        return Score(covered_share(real, fake, self.k), None, {"n_real": float(len(real)), "n_fake": float(len(fake))})

    def per_clip(self, real: np.ndarray, fake: np.ndarray) -> np.ndarray:
        """See `FeatureMetric`: 1 inside, 0 outside."""
        return covered(real, fake, self.k).astype(np.float64)
