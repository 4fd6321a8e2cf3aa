"""Fréchet Inception Distance on single frames."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from clipmill.evaluate.distances.checks import check_features, frechet_warnings
from clipmill.evaluate.distances.frechet import frechet_distance
from clipmill.evaluate.metrics import FeatureMetric, Groups, Score


@dataclass(frozen=True)
class FID(FeatureMetric):
    """Heusel et al. 2017 (arXiv 1706.08500): the Fréchet distance of Gaussians fitted to the features of frames. No
    error bar: frames of one clip resemble each other, so that counting them as independent would promise too much.
    ddof: of covariances, 0 or 1.
    """

    title: ClassVar[str] = "{frechet_name}, of frames"
    higher_is_better: ClassVar[bool | None] = False
    features: ClassVar[str | None] = "inception"

    ddof: int = 1

    def __call__(self, real: np.ndarray, fake: np.ndarray, seed: int = 0, groups: Groups = None) -> Score:
        """float [N, D], float [M, D], one row per frame -> Score. Raises UserError below two frames on a side."""
        check_features(real, fake, 2)
        counts = {"n_real_frames": float(len(real)), "n_fake_frames": float(len(fake))}
        return Score(frechet_distance(real, fake, self.ddof), None, counts, frechet_warnings(real, fake))
