"""Structural similarity of a reconstruction."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from clipmill.curate.errors import UserError
from clipmill.evaluate.frames.frame_pairs import mean_similarity
from clipmill.evaluate.metrics import PairMetric

_WINDOW_PX = 11


@dataclass(frozen=True)
class SSIM(PairMetric):
    """Wang et al. 2004 (IEEE TIP 13), Gaussian window of 11 px and sigma 1.5, on the three colour channels, mean over
    frames, -1 to 1. As torchmetrics has it: windows over the picture's border see it mirrored (other code leaves a
    margin of 5 px out).
    """

    title: ClassVar[str] = "SSIM"
    higher_is_better: ClassVar[bool | None] = True

    def __call__(self, real: np.ndarray, fake: np.ndarray) -> float:
        """uint8 [T, H, W, 3] twice -> value. Raises UserError where the shapes differ or a side is under 11 px."""
        from torchmetrics.functional.image import structural_similarity_index_measure

        if min(real.shape[1:3]) < _WINDOW_PX:
            raise UserError(f"SSIM needs pictures of at least {_WINDOW_PX} px, not {real.shape[2]}x{real.shape[1]}")
        return mean_similarity(structural_similarity_index_measure, real, fake)
