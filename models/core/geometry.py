"""Which pair (alpha, sigma) stands for a ratio of signal to noise. The noise itself is the same: geometries differ in
the scale of z.
"""

from enum import Enum

import torch

from clipmill.models.core.noise_level import NoiseLevel


class Geometry(Enum):
    """PRESERVING: alpha² + sigma² = 1 (DDPM, VDM). STRAIGHT: alpha + sigma = 1 (rectified flow). EXPLODING: alpha = 1
    (EDM).
    """

    PRESERVING = "preserving"
    STRAIGHT = "straight"
    EXPLODING = "exploding"

    def level(self, signal: torch.Tensor, noise: torch.Tensor) -> NoiseLevel:
        """From any two float64 >= 0 in the ratio alpha : sigma, of one shape. A zero stays exactly zero; EXPLODING
        needs signal > 0.
        """
        if self is Geometry.PRESERVING:
            scale = torch.hypot(signal, noise)
        elif self is Geometry.STRAIGHT:
            scale = signal + noise
        else:
            scale = signal
        return NoiseLevel(signal / scale, noise / scale)
