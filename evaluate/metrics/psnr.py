"""Peak signal-to-noise ratio of a reconstruction."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from clipmill.evaluate.frames.frame_pairs import frame_batches
from clipmill.evaluate.metrics import PairMetric


@dataclass(frozen=True)
class PSNR(PairMetric):
    """10 log10(255² / mean squared error), the error over all frames and channels of the clip: frames that are equal
    (given ones, say) lower it as they should. Infinite where the whole clip is equal, which is perfect, not missing.
    """

    title: ClassVar[str] = "PSNR"
    unit: ClassVar[str] = "dB"
    higher_is_better: ClassVar[bool | None] = True
    # The first was the mean of the frames' own ratios: infinite, and so of no use, where one frame is equal.
    definition: ClassVar[int] = 2

    def __call__(self, real: np.ndarray, fake: np.ndarray) -> float:
        """uint8 [T, H, W, 3] twice -> dB. Raises UserError where the shapes differ."""
        errors = [((a - b).double() ** 2).mean((1, 2, 3)).numpy() for a, b in frame_batches(real, fake)]
        error = float(np.concatenate(errors).mean())
        return float(-10 * np.log10(error)) if error > 0 else float("inf")
