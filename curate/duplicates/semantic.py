"""Duplicates by meaning: clips whose CLIP embeddings point the same way, though no pixel agrees (as SemDeDup, arXiv
2303.09540).

Exact up to `dedup.semantic_exact_clips`: all pairs, in blocks. Beyond, where the package usearch is there, among the
nearest neighbours that its graph (HNSW, arXiv 1603.09320) finds: nearly all pairs, in a time that grows with the number
of clips and not with its square.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from clipmill.curate.duplicates.groups import gather, keep_order, star_groups
from clipmill.curate.settings.dedup import DedupConfig

if TYPE_CHECKING:
    import pandas as pd

_BLOCK = 2048
_NEIGHBOURS = 64


def semantic_duplicates(
    clips: "pd.DataFrame", vectors: np.ndarray, config: DedupConfig | None = None
) -> "pd.DataFrame":
    """Groups of clips that show the same thing.

    clips: clip_id, what `groups.keep_order` reads, and the column that `semantic_keep` names.
    vectors: float [N, R, D], the embeddings of a clip's frames; NaN where there are none. Two clips are alike where the
    mean cosine of their frames, role by role, is at least `semantic_similarity`. Returns one row per clip, in the order
    given: clip_id, semantic_group_id (smallest clip_id of the group, null where it has none), semantic_rank (0 for the
    one to keep), semantic_of (clip_id of rank 0; null for it). Every member is alike the one that is kept.
    """
    import pandas as pd

    config = config or DedupConfig()
    unknown = np.isnan(vectors).any(axis=(1, 2))
    ids = clips["clip_id"].tolist()
    rows: list[dict] = [{"clip_id": c, "semantic_group_id": None, "semantic_rank": 0, "semantic_of": None} for c in ids]
    for position in np.flatnonzero(unknown):
        rows[int(position)]["semantic_rank"] = None
    order = [clip for clip in best_first(clips, config.semantic_keep) if not unknown[clip]]
    for members in _groups(order, vectors, config):
        name = min(ids[i] for i in members)
        for rank, i in enumerate(members):
            rows[i].update(semantic_group_id=name, semantic_rank=rank, semantic_of=ids[members[0]] if rank else None)
    return pd.DataFrame(rows, columns=["clip_id", "semantic_group_id", "semantic_rank", "semantic_of"])


def joined_vectors(vectors: np.ndarray) -> np.ndarray:
    """float [N, R, D] -> float32 [N, R D] of length 1, whose product is the mean cosine over the R frames."""
    frames = vectors.astype(np.float32)
    frames /= np.linalg.norm(frames, axis=2, keepdims=True)
    return frames.reshape(len(frames), -1) / np.sqrt(frames.shape[1])


def best_first(clips: "pd.DataFrame", column: str | None) -> list[int]:
    """Positions from the clip to keep to the last: largest value of the column first, unknown last, then as for near
    duplicates.
    """
    order = keep_order(clips)
    if column is None or column not in clips:
        return order
    values = clips[column].to_numpy(np.float64, na_value=np.nan)[order]
    return [order[i] for i in np.argsort(-values, kind="stable")]  # NaN last


def _groups(order: Sequence[int], vectors: np.ndarray, config: DedupConfig) -> list[list[int]]:
    """order: positions of the clips whose vectors are known, from the one to keep to the last."""
    least, known = config.semantic_similarity, np.sort(np.asarray(order, np.int64))
    joined, among = joined_vectors(vectors[known]), np.searchsorted(known, order).tolist()
    if len(known) <= config.semantic_exact_clips or find_spec("usearch") is None:
        groups = gather(among, partial(_alike, joined, least))
    else:
        groups = star_groups(among, list(near_pairs(joined, least)))
    return [[int(known[i]) for i in group] for group in groups]


def _alike(vectors: np.ndarray, least: float, some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """See `groups.Near`. vectors: float32 [N, D] of length 1."""
    found = np.zeros((len(some), len(others)), bool)
    for start in range(0, len(others), _BLOCK):
        block = slice(start, start + _BLOCK)
        found[:, block] = vectors[some] @ vectors[others[block]].T >= least
    return found


def near_pairs(vectors: np.ndarray, least: float) -> Iterator[tuple[int, int]]:
    """Pairs i < j, each once, whose product is at least `least`, among the 64 nearest neighbours of each by usearch's
    graph; a few may be missed. vectors: float32 [N, D] of length 1.
    """
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="ip", dtype="f32")
    # One thread: the graph, and so the pairs, must not depend on the order in which threads add.
    index.add(np.arange(len(vectors)), vectors, threads=1)
    found = set()
    for start in range(0, len(vectors), _BLOCK):
        matches = index.search(vectors[start : start + _BLOCK], min(_NEIGHBOURS, len(vectors)), threads=1)
        for i, (keys, distances) in enumerate(zip(matches.keys, matches.distances, strict=True), start):
            alike = keys[1 - distances >= least]
            found |= {(min(i, int(j)), max(i, int(j))) for j in alike if j != i}
    yield from sorted(found)
