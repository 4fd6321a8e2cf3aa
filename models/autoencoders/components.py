"""Principal components of vectors that may have more entries than there are vectors."""

from collections.abc import Iterable

import torch

from clipmill.models.autoencoders.moments import RunningMoments

# C x C numbers of float64 are 128 MiB here; above, the vectors themselves are kept, which must be few.
_FEW_CHANNELS = 4096


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
