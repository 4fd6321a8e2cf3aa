"""Peak signal-to-noise ratio of a reconstruction."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from clipmill.evaluate.frames.frame_pairs import frame_batches
from clipmill.evaluate.metrics import PairMetric


@dataclass(frozen=True)
class PSNR(PairMetric):
    """10 log10(255² / mean squared error) of each frame over all channels, mean over frames; infinite where a frame is
    equal.
    """

    title: ClassVar[str] = "PSNR"
    unit: ClassVar[str] = "dB"
    higher_is_better: ClassVar[bool | None] = True

    def __call__(self, real: np.ndarray, fake: np.ndarray) -> float:
        """uint8 [T, H, W, 3] twice -> dB. Raises UserError where the shapes differ."""
        from torchmetrics.functional.image import peak_signal_noise_ratio

        values = [
            peak_signal_noise_ratio(b, a, data_range=1.0, dim=(1, 2, 3), reduction="none").numpy()
            for a, b in frame_batches(real, fake)
        ]
        return float(np.concatenate(values).mean())
