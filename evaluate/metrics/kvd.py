"""Kernel Video Distance: squared MMD with a cubic kernel, unbiased at any number of clips."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from clipmill.evaluate.distances.checks import check_features, copy_warnings, few_groups
from clipmill.evaluate.distances.grouped_mmd import grouped_mmd
from clipmill.evaluate.distances.mmd import PolynomialKernel, block_mmd, mmd_with_error, subset_mmd
from clipmill.evaluate.distances.shares import mmd_shares
from clipmill.evaluate.metrics import FeatureMetric, Groups, Score


@dataclass(frozen=True)
class KVD(FeatureMetric):
    """Unterthiner et al. 2019; the kernel is that of Binkowski et al. 2018 (arXiv 1801.01401): (gamma a.b +
    coef)^degree.

    method: full (every pair, with a jackknife error bar that leaves groups of clips out whole), block (disjoint blocks
    of at most max_block clips, shuffled; error of their mean, none where clips are not independent), subset (100
    overlapping draws of at most 1,000 clips, as for KID; their deviation is in the details, and is no error bar).
    gamma: None for 1 / D. unbiased: only `full` can do without; JEDi is degree 2, coef 0, unbiased false, scale 100.
    scale: factor on the value and its error.
    """

    title: ClassVar[str] = "{kernel_name}"
    higher_is_better: ClassVar[bool | None] = False

    method: Literal["full", "block", "subset"] = "full"
    degree: int = 3
    gamma: float | None = None
    coef: float = 1.0
    unbiased: bool = True
    scale: float = 1.0
    max_block: int = 1024
    subsets: int = 100
    max_subset: int = 1000

    def __call__(self, real: np.ndarray, fake: np.ndarray, seed: int = 0, groups: Groups = None) -> Score:
        """float [N, D], float [M, D] -> Score. Raises UserError below two clips on a side."""
        check_features(real, fake, 2)
        warnings = copy_warnings(real, fake)
        counts = {"n_real": float(len(real)), "n_fake": float(len(fake))}
        kernel = (self.degree, self.gamma, self.coef)
        if self.method == "subset":
            value, deviation = subset_mmd(
                real, fake, *kernel, subsets=self.subsets, max_subset=self.max_subset, seed=seed
            )
            return Score(self.scale * value, None, counts | {"subset_deviation": self.scale * deviation}, warnings)
        if self.method == "full" and groups is not None:
            found = grouped_mmd(real, fake, groups, PolynomialKernel(*kernel), self.unbiased)
        elif self.method == "block":
            found = block_mmd(real, fake, *kernel, max_block=self.max_block, seed=seed)
        else:
            found = mmd_with_error(real, fake, *kernel, unbiased=self.unbiased)
        known = found.standard_error is not None and (self.method == "full" or groups is None)
        error = self.scale * (found.standard_error or 0.0) if known else None
        return Score(self.scale * found.value, error, counts, warnings + few_groups(groups, error))

    def per_clip(self, real: np.ndarray, fake: np.ndarray) -> np.ndarray:
        """See `FeatureMetric`."""
        return self.scale * mmd_shares(real, fake, PolynomialKernel(self.degree, self.gamma, self.coef))
