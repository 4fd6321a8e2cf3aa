"""Duplicates by meaning: clips whose CLIP embeddings point the same way, though no pixel agrees (as SemDeDup, arXiv
2303.09540).

Exact up to `dedup.semantic_exact_clips`: all pairs, in blocks. Beyond, within and between neighbouring cells (see
`cells`): nearly all pairs, in a time that grows slower than the square of the number of clips.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from clipmill.curate.duplicates.cells import cells_of, joined_vectors
from clipmill.curate.duplicates.groups import gather, keep_order
from clipmill.curate.settings.dedup import DedupConfig

if TYPE_CHECKING:
    import pandas as pd

_BLOCK = 2048
_LEADERS = 2048  # at once: what cells hold is made ready for each such block again


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
    if len(order) > config.semantic_exact_clips:
        return gather(order, cells_of(vectors, order, config.semantic_similarity).near, leaders=_LEADERS)
    known = np.sort(np.asarray(order, np.int64))
    joined, among = joined_vectors(vectors[known]), np.searchsorted(known, order).tolist()
    groups = gather(among, partial(_alike, joined, config.semantic_similarity))
    return [[int(known[i]) for i in group] for group in groups]


def _alike(vectors: np.ndarray, least: float, some: np.ndarray, free: np.ndarray) -> Iterator[np.ndarray]:
    """See `groups.Near`. vectors: float32 [N, D] of length 1."""
    others, found = np.flatnonzero(free), list[list[np.ndarray]]([[] for _ in some])
    for start in range(0, len(others), _BLOCK):
        block = others[start : start + _BLOCK]
        for mates, row in zip(found, vectors[some] @ vectors[block].T >= least, strict=True):
            mates.append(block[row])
    yield from map(np.concatenate, found)
