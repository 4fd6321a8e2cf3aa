"""Which of very many clips point the same way: cells around centres (spherical k-means, as SemDeDup, arXiv 2303.09540),
compared exactly inside and between neighbouring cells.

Which cells neighbour a clip follows from how alike two clips must be. Say its own centre is at cosine a, and clips
count as alike from cosine c. In many dimensions a clip that is just alike is at about c a from that centre, so its own
centre is at least as near to it, and at about c c a from the first clip. All cells from there on are looked into,
however many: no number of neighbours can cut a group. Where all clips lie close together that is every cell, and the
search is exact.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_ROUNDS = 4
_SAMPLE_PER_CELL = 32
_BLOCK = 8192


@dataclass(frozen=True)
class Cells:
    """vectors: float [N, R, D], as `semantic_duplicates`. centres: float32 [K, R D] of length 1. members: for each of
    the K cells the positions of its clips, increasing. least: the cosine from which two clips are alike.
    """

    vectors: np.ndarray
    centres: np.ndarray
    members: Sequence[np.ndarray]
    least: float

    def near(self, clips: np.ndarray, free: np.ndarray) -> Iterator[np.ndarray]:
        """See `groups.Near`."""
        mine = joined_vectors(self.vectors[clips])
        likeness = mine @ self.centres.T
        own = likeness.max(axis=1, keepdims=True)
        looks = likeness >= np.minimum(own, self.least**2 * own)
        found: list[list[np.ndarray]] = [[] for _ in clips]
        for cell in np.flatnonzero(looks.any(axis=0)).tolist():
            there = self.members[cell]
            there, rows = there[free[there]], np.flatnonzero(looks[:, cell])
            alike = mine[rows] @ joined_vectors(self.vectors[there]).T >= self.least
            for row, mates in zip(rows.tolist(), alike, strict=True):
                found[row].append(there[mates])
        yield from (np.concatenate(mates) for mates in found)


def cells_of(vectors: np.ndarray, order: Sequence[int], least: float) -> Cells:
    """The square root of N cells over the clips in `order`, positions from the one to keep to the last, whatever the
    order of rows: the sample that centres are made from is drawn from it.
    """
    places = np.asarray(order, np.int64)
    n_cells = max(1, round(len(places) ** 0.5))
    drawn = np.random.default_rng(0).permutation(len(places))[: n_cells * _SAMPLE_PER_CELL]
    centres = _centres(joined_vectors(vectors[places[drawn]]), n_cells)
    cell = np.empty(len(places), np.int64)
    for start in range(0, len(places), _BLOCK):
        some = slice(start, start + _BLOCK)
        cell[some] = (joined_vectors(vectors[places[some]]) @ centres.T).argmax(axis=1)
    return Cells(vectors, centres, [np.sort(places[cell == k]) for k in range(n_cells)], least)


def _centres(sample: np.ndarray, n_cells: int) -> np.ndarray:
    centres = sample[:n_cells].copy()
    for _ in range(_ROUNDS):
        nearest = (sample @ centres.T).argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, sample)
        length = np.linalg.norm(sums, axis=1, keepdims=True)
        centres = np.where(length > 0, sums / np.maximum(length, 1e-12), centres)  # an empty cell stays where it is
    return centres


def joined_vectors(vectors: np.ndarray) -> np.ndarray:
    """float [N, R, D] -> float32 [N, R D] of length 1, whose product is the mean cosine over the R frames."""
    frames = vectors.astype(np.float32)
    frames /= np.linalg.norm(frames, axis=2, keepdims=True)
    return frames.reshape(len(frames), frames.shape[1] * frames.shape[2]) / np.sqrt(frames.shape[1])
