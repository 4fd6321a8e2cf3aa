"""Mean and covariance of channels, from one batch after another."""

import torch

from clipmill.curate.errors import UserError

# A merge passes over C x C numbers, so vectors wait until it is worth it.
_ROWS = 1024


class RunningMoments:
    """Of vectors with `channels` entries, in float64 on the CPU; batches are merged as in Chan, Golub and LeVeque 1979,
    without the cancellation that sums of squares suffer from.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self._mean = torch.zeros(channels, dtype=torch.float64)
        self._scatter = torch.zeros(channels, channels, dtype=torch.float64)
        self._waiting: list[torch.Tensor] = []

    def add(self, values: torch.Tensor) -> None:
        """values: float [B, T, C, H, W], every position of every frame a vector."""
        self._waiting.append(values.movedim(2, -1).reshape(-1, values.shape[2]).double().cpu())
        if sum(map(len, self._waiting)) >= _ROWS:
            self._merge()

    def _merge(self) -> None:
        vectors, self._waiting = torch.cat(self._waiting), []
        mean, count = vectors.mean(dim=0), len(vectors)
        shift, total = mean - self._mean, self.count + count
        rows = torch.cat([vectors - mean, (shift * (self.count * count / total) ** 0.5)[None]])
        self._scatter.addmm_(rows.T, rows)
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
        if self._waiting:
            self._merge()
        if not self.count:
            raise UserError("there is no video to measure: give at least one clip")
