"""Inception Score of frames: sure about each picture, varied over all of them."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from clipmill.curate.errors import UserError
from clipmill.evaluate.distances.checks import check_features
from clipmill.evaluate.metrics import FeatureMetric, Groups, Score


@dataclass(frozen=True)
class InceptionScore(FeatureMetric):
    """exp of the mean Kullback-Leibler divergence between the classes of one frame and those of all (Salimans et al.
    2016, arXiv 1606.03498, section 4), 1 to the number of classes; the mean over `splits` parts of the shuffled frames.

    Looks at the fake set alone; that of the real one, which bounds what a perfect generator would get, is in the
    details.
    """

    title: ClassVar[str] = "inception score of frames"
    higher_is_better: ClassVar[bool | None] = True
    features: ClassVar[str | None] = "inception-logits"

    splits: int = 10

    def __call__(self, real: np.ndarray, fake: np.ndarray, seed: int = 0, groups: Groups = None) -> Score:
        """Logits, float [N, classes] and [M, classes], one row per frame -> Score. Raises UserError for fewer frames
        than splits.
        """
        check_features(real, fake, 1)
        scores = self._scores(fake, seed)
        details = {"split_deviation": float(scores.std()), "n_fake_frames": float(len(fake))}
        if len(real) >= self.splits:
            details["real"] = float(self._scores(real, seed).mean())
        return Score(float(scores.mean()), None, details)

    def _scores(self, logits: np.ndarray, seed: int) -> np.ndarray:
        from scipy.special import log_softmax

        if not 1 <= self.splits <= len(logits):
            raise UserError(f"{len(logits)} frames cannot be split into {self.splits} parts")
        order = np.random.default_rng(seed).permutation(len(logits))
        return np.array(
            [
                _score(log_softmax(part.astype(np.float64), axis=1))
                for part in np.array_split(logits[order], self.splits)
            ]
        )


def _score(log_p: np.ndarray) -> float:
    p = np.exp(log_p)
    # A class that no frame holds adds nothing: its p is 0 too.
    log_mean = np.log(np.maximum(p.mean(axis=0), np.finfo(np.float64).tiny))
    return float(np.exp((p * (log_p - log_mean)).sum(axis=1).mean()))
