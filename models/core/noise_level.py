"""How noisy a tensor is: the two factors of z = alpha x + sigma eps."""

from dataclasses import dataclass
from typing import Literal

import torch

# The number that stands for a noise level at a network's input.
Coordinate = Literal["angle", "time", "quarter-log"]


@dataclass(frozen=True, eq=False)
class NoiseLevel:
    """z = alpha x + sigma eps, eps ~ N(0, 1).

    alpha, sigma: float64 >= 0 of one shape: [] for a whole batch, [B] one per sample, [B, T] one per frame, or [N + 1]
    for the stations of a sampler, from which `levels[i]` takes one. Nothing here divides by zero unless its name is a
    ratio: alpha = 0 is pure noise, sigma = 0 clean.
    """

    alpha: torch.Tensor
    sigma: torch.Tensor

    def __len__(self) -> int:
        return len(self.alpha)

    def __getitem__(self, index: int | slice) -> "NoiseLevel":
        return NoiseLevel(self.alpha[index], self.sigma[index])

    @property
    def length(self) -> torch.Tensor:
        """sqrt(alpha² + sigma²), float64; 1 where variance is preserved."""
        return torch.hypot(self.alpha, self.sigma)

    @property
    def angle(self) -> torch.Tensor:
        """phi = atan(sigma / alpha), float64 in [0, pi / 2]: 0 clean, pi / 2 pure noise."""
        return torch.atan2(self.sigma, self.alpha)

    @property
    def snr(self) -> torch.Tensor:
        """alpha² / sigma², float64; infinite where clean."""
        return (self.alpha / self.sigma).square()

    @property
    def log_snr(self) -> torch.Tensor:
        """lambda = ln(alpha² / sigma²), float64; infinite at both ends."""
        return 2 * (self.alpha.log() - self.sigma.log())

    def expand(self, batch: int) -> "NoiseLevel":
        """One level per sample, [B], of one for the whole batch; others stay as they are."""
        if self.alpha.ndim > 0:
            return self
        return NoiseLevel(self.alpha.expand(batch), self.sigma.expand(batch))

    def coordinate(self, name: Coordinate) -> torch.Tensor:
        """float32 of the level's shape, what a network is told: "angle" 2 phi / pi and "time" sigma / (alpha + sigma),
        both in [0, 1] and finite at both ends; "quarter-log" ln(sigma / alpha) / 4 (Karras et al. 2022, table 1,
        c_noise), infinite there.
        """
        if name == "angle":
            value = self.angle * (2 / torch.pi)
        elif name == "time":
            value = self.sigma / (self.alpha + self.sigma)
        else:
            value = (self.sigma.log() - self.alpha.log()) / 4
        return value.to(torch.float32)


def over(value: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """A number per batch [], sample [B] or frame [B, T], shaped to multiply z [B, T, ...], on z's device; at least
    single precision.
    """
    dtype = torch.promote_types(z.dtype, torch.float32)
    return value.to(z.device, dtype).reshape(*value.shape, *(1,) * (z.ndim - value.ndim))


def noised(x0: torch.Tensor, eps: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
    """z = alpha x0 + sigma eps; x0, eps: float [B, T, C, H, W] (any trailing axes), eps standard normal."""
    return over(level.alpha, x0) * x0 + over(level.sigma, x0) * eps
