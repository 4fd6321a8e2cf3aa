"""Mean and covariance of channels, from one batch after another."""

import torch

from curate.errors import UserError


class RunningMoments:
    """Of vectors with `channels` entries, in float64 on the CPU; batches are merged as in Chan, Golub and LeVeque 1979, without the
    cancellation that sums of squares suffer from.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self._mean = torch.zeros(channels, dtype=torch.float64)
        self._scatter = torch.zeros(channels, channels, dtype=torch.float64)

    def add(self, values: torch.Tensor) -> None:
        """values: float [B, T, C, H, W], every position of every frame a vector."""
        vectors = values.movedim(2, -1).reshape(-1, values.shape[2]).double().cpu()
        mean, count = vectors.mean(dim=0), len(vectors)
        centred, shift, total = vectors - mean, mean - self._mean, self.count + count
        self._scatter += centred.T @ centred + torch.outer(shift, shift) * (self.count * count / total)
        self._mean += shift * (count / total)
        self.count = total

    @property
    def mean(self) -> torch.Tensor:
        """float64 [C]. Raises UserError before the first batch."""
        self._check()
        return self._mean

    @property
    def covariance(self) -> torch.Tensor:
        """float64 [C, C], of the population. Raises UserError likewise."""
        self._check()
        return self._scatter / self.count

    def _check(self) -> None:
        if not self.count:
            raise UserError("there is no video to measure: give at least one clip")
