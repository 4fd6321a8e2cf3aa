"""Structural similarity of a reconstruction at five sizes."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from clipmill.curate.errors import UserError
from clipmill.evaluate.frames.frame_pairs import mean_similarity
from clipmill.evaluate.metrics import PairMetric

# Four halvings of it leave the 11 px of the Gaussian window.
_LEAST_PX = 176


@dataclass(frozen=True)
class MSSSIM(PairMetric):
    """Wang, Simoncelli, Bovik 2003 (Asilomar), equation 7 with the published weights of five sizes; the window is that
    of `ssim`, halving is a mean over 2x2 px. As torchmetrics has it: of the four larger sizes a margin of 5 px is left
    out, and negative contrast counts as 0. Mean over frames, 0 to 1.
    """

    title: ClassVar[str] = "MS-SSIM (five sizes, Gaussian window 11, sigma 1.5)"
    higher_is_better: ClassVar[bool | None] = True

    def __call__(self, real: np.ndarray, fake: np.ndarray) -> float:
        """uint8 [T, H, W, 3] twice -> value. Raises UserError where the shapes differ or a side is under 176 px."""
        from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

        if min(real.shape[1:3]) < _LEAST_PX:
            raise UserError(f"MS-SSIM needs pictures of at least {_LEAST_PX} px, not {real.shape[2]}x{real.shape[1]}")
        return mean_similarity(ms_ssim, real, fake)
