"""Fréchet Video Distance, with what it is off by."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from clipmill.evaluate.distances.checks import check_features, few_groups, frechet_warnings
from clipmill.evaluate.distances.error_bar import MIN_ROWS, leave_groups_out
from clipmill.evaluate.distances.frechet import frechet_distance
from clipmill.evaluate.distances.shares import frechet_shares
from clipmill.evaluate.metrics import FeatureMetric, Groups, Score


@dataclass(frozen=True)
class FVD(FeatureMetric):
    """Unterthiner et al. 2018 (arXiv 1812.01717), with its standard error over fresh draws of both sets (groups of
    clips that are not independent left out whole, see `clipmill.evaluate.distances.error_bar`), and, where
    half of each set has more clips than features have dimensions, extrapolated to infinitely many clips: `fvd_infinity`
    and `fvd_infinity_se` in the details.

    ddof, dtype: see `clipmill.evaluate.distances.frechet`. error_bar: about a hundred more distances (3 s on one core
    for 400 dimensions, a minute for 1,400), always in float64.
    """

    title: ClassVar[str] = "{frechet_name}"
    higher_is_better: ClassVar[bool | None] = False

    ddof: int = 1
    dtype: Literal["float64", "float32"] = "float64"
    error_bar: bool = True

    def __call__(self, real: np.ndarray, fake: np.ndarray, seed: int = 0, groups: Groups = None) -> Score:
        """float [N, D], float [M, D] -> Score. Raises UserError below two clips on a side; no standard error below
        eight, nor below eight groups.
        """
        check_features(real, fake, 2)
        value = frechet_distance(real, fake, self.ddof, self.dtype)
        details = {"n_real": float(len(real)), "n_fake": float(len(fake))}
        error = None
        independent = min(len(real), len(fake)) if groups is None else min(len(np.unique(g)) for g in groups)
        if self.error_bar and independent >= MIN_ROWS:
            found = leave_groups_out(real, fake, self.ddof, seed, groups=groups)
            error = found.standard_error
            if min(len(real), len(fake)) // 2 > real.shape[1]:
                details |= {"fvd_infinity": found.infinity, "fvd_infinity_se": found.infinity_error}
        said = few_groups(groups, error) if self.error_bar else ()
        return Score(value, error, details, frechet_warnings(real, fake) + said)

    def per_clip(self, real: np.ndarray, fake: np.ndarray) -> np.ndarray:
        """See `FeatureMetric`."""
        return frechet_shares(real, fake, self.ddof)
