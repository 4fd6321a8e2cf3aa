"""Kernel Inception Distance on single frames."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from clipmill.evaluate.distances.checks import check_features
from clipmill.evaluate.distances.mmd import subset_mmd
from clipmill.evaluate.metrics import FeatureMetric, Groups, Score


@dataclass(frozen=True)
class KID(FeatureMetric):
    """Binkowski et al. 2018 (arXiv 1801.01401): cubic kernel, mean of the unbiased squared MMD over `subsets` draws of
    at most `max_subset` frames of each set. No error bar: frames of one clip resemble each other, so that counting them
    as independent would promise too much; the deviation between subsets is in the details.
    """

    title: ClassVar[str] = "{kernel_name}, of frames"
    higher_is_better: ClassVar[bool | None] = False
    features: ClassVar[str | None] = "inception"

    subsets: int = 100
    max_subset: int = 1000

    def __call__(self, real: np.ndarray, fake: np.ndarray, seed: int = 0, groups: Groups = None) -> Score:
        """float [N, D], float [M, D], one row per frame -> Score. Raises UserError below two frames on a side."""
        check_features(real, fake, 2)
        value, deviation = subset_mmd(real, fake, subsets=self.subsets, max_subset=self.max_subset, seed=seed)
        counts = {"n_real_frames": float(len(real)), "n_fake_frames": float(len(fake))}
        return Score(value, None, counts | {"subset_deviation": deviation})
