"""How much of one set lies inside the manifold of another, as balls around its points reach."""

import numpy as np

from clipmill.curate.errors import UserError

_BLOCK_ROWS = 2048


def covered_share(reference: np.ndarray, points: np.ndarray, k: int = 3) -> float:
    """Share of `points`, 0 to 1, that are `covered`. Raises UserError where N <= k."""
    return float(covered(reference, points, k).mean())


def covered(reference: np.ndarray, points: np.ndarray, k: int = 3) -> np.ndarray:
    """bool [M]: which of `points` lie inside at least one ball around a row of `reference` that reaches to its k-th
    nearest neighbour.

    reference: float [N, D]; points: float [M, D]. Kynkäänniemi et al., "Improved Precision and Recall Metric for
    Assessing Generative Models", 2019 (arXiv 1904.06991), equations 1 and 2. Memory does not grow with N M. Raises
    UserError where N <= k.
    """
    if len(reference) <= k:
        raise UserError(f"the {k}-th nearest neighbour needs more than {k} clips, there are {len(reference)}")
    centre = reference.mean(axis=0, dtype=np.float64)
    reference, points = reference - centre, points - centre
    radius = _squared_reach(reference, k)
    inside = []
    for at in range(0, len(points), _BLOCK_ROWS):
        block = points[at : at + _BLOCK_ROWS]
        found = np.zeros(len(block), bool)
        for start in range(0, len(reference), _BLOCK_ROWS):
            balls = slice(start, start + _BLOCK_ROWS)
            found |= (_squared_distances(block, reference[balls]) <= radius[balls]).any(axis=1)
        inside.append(found)
    return np.concatenate(inside)


def _squared_reach(points: np.ndarray, k: int) -> np.ndarray:
    """float64 [N]: squared distance to the k-th nearest other row."""
    reach = np.empty(len(points))
    for at in range(0, len(points), _BLOCK_ROWS):
        block = points[at : at + _BLOCK_ROWS]
        nearest = np.empty((len(block), 0))
        for start in range(0, len(points), _BLOCK_ROWS):
            distances = _squared_distances(block, points[start : start + _BLOCK_ROWS])
            if start == at:
                np.fill_diagonal(distances, np.inf)
            nearest = np.concatenate([nearest, distances], axis=1)
            if nearest.shape[1] > k:
                nearest = np.partition(nearest, k - 1, axis=1)[:, :k]
        reach[at : at + len(block)] = nearest[:, k - 1]
    return reach


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    squares = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)
    return np.maximum(squares - 2 * (a @ b.T), 0.0)
