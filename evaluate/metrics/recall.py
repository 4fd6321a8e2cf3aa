"""Recall: how much of the real variety was generated."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from clipmill.evaluate.distances.checks import check_features
from clipmill.evaluate.distances.precision_recall import covered_share
from clipmill.evaluate.metrics import FeatureMetric, Groups, Score


@dataclass(frozen=True)
class Recall(FeatureMetric):
    """Share of real clips inside the manifold of the fake ones, 0 to 1 (Kynkäänniemi et al. 2019, arXiv 1904.06991).

    k: a ball reaches from each fake clip to its k-th nearest other one. Depends on the number of fake clips: compare at
    equal counts.
    """

    title: ClassVar[str] = "recall ({features})"
    higher_is_better: ClassVar[bool | None] = True

    k: int = 3

    def __call__(self, real: np.ndarray, fake: np.ndarray, seed: int = 0, groups: Groups = None) -> Score:
        """float [N, D], float [M, D] -> Score. Raises UserError for M <= k."""
        check_features(real, fake, 1)
        return Score(covered_share(fake, real, self.k), None, {"n_real": float(len(real)), "n_fake": float(len(fake))})
