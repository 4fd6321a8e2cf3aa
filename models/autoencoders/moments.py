"""Mean and covariance of channels, from one batch after another, and their principal components."""

from collections.abc import Iterable

import torch

from clipmill.curate.errors import UserError

# A merge passes over C x C numbers, so vectors wait until it is worth it.
_ROWS = 1024
# C x C numbers of float64 are 128 MiB here; above, the vectors themselves are kept, which must be few.
_FEW_CHANNELS = 4096


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


def leading_components(blocks: Iterable[torch.Tensor], count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(mean [C], directions [count, C]), float64, the direction of the largest variance first, orthonormal, their signs
    arbitrary. Where there are fewer independent vectors than `count`, the last directions are any others.

    blocks: float [B, T, C, H, W] each, every position a vector. Raises UserError where there is none.
    """
    moments, vectors = None, []
    for block in blocks:
        if block.shape[2] > _FEW_CHANNELS:
            vectors.append(block.movedim(2, -1).reshape(-1, block.shape[2]).cpu())
        else:
            moments = moments or RunningMoments(block.shape[2])
            moments.add(block)
    if vectors:
        return _of_few(torch.cat(vectors), count)
    moments = moments or RunningMoments(1)
    covariance = moments.covariance
    return moments.mean, torch.linalg.eigh(covariance).eigenvectors.T.flip(0)[:count]


def _of_few(vectors: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """By the products of the vectors with one another, [N, N]: Turk and Pentland 1991, eigenfaces, equation 6."""
    centred = vectors.double()
    mean = centred.mean(dim=0)
    centred -= mean
    weights = torch.linalg.eigh(centred @ centred.T).eigenvectors.T.flip(0)[:count]
    directions = torch.zeros(count, len(mean), dtype=torch.float64)
    torch.mm(weights, centred, out=directions[: len(weights)])
    # Their lengths fall to nothing where the vectors span no more; the columns of Q have length 1 in any case.
    return mean, torch.linalg.qr(directions.T).Q.T
