"""Duplicates by meaning among more clips than are compared with one another: cells cut no group."""

import numpy as np
import pandas as pd

from clipmill.curate.duplicates.semantic import semantic_duplicates
from clipmill.curate.settings.dedup import DedupConfig


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def groups_of(vectors: np.ndarray, exact_clips: int) -> tuple[list[set[int]], pd.DataFrame]:
    clips = pd.DataFrame({"clip_id": [f"{i:05d}" for i in range(len(vectors))]})
    found = semantic_duplicates(clips, vectors, DedupConfig(semantic_exact_clips=exact_clips))
    groups = found.dropna(subset=["semantic_group_id"]).groupby("semantic_group_id")
    return sorted((set(rows.index) for _, rows in groups), key=min), found


def test_a_cluster_of_thousands_is_one_group():
    """On the code before, the nearest 64 of a graph, they were 271 groups."""
    rng = np.random.default_rng(0)
    centre = unit(rng.normal(size=(1, 3, 24)))
    cluster = unit(centre + 0.02 * rng.normal(size=(3000, 3, 24)))
    others = unit(rng.normal(size=(400, 3, 24)))
    groups, found = groups_of(np.concatenate([others, cluster]), exact_clips=100)
    assert groups == [set(range(400, 3400))]
    assert sorted(found["semantic_rank"][400:]) == list(range(3000))


def test_cells_find_the_groups_that_all_pairs_find():
    """Clips around scenes, as the cells are, with copies from certain to hardly alike."""
    rng = np.random.default_rng(1)
    scenes = unit(rng.normal(size=(30, 3, 32)))[rng.integers(0, 30, 1500)]
    clips = unit(scenes + 0.15 * rng.normal(size=scenes.shape))
    copies = unit(clips[:900] + rng.uniform(0, 0.06, (900, 1, 1)) * rng.normal(size=(900, 3, 32)))
    vectors = np.concatenate([clips, copies])
    exact, _ = groups_of(vectors, exact_clips=10_000)
    assert len(exact) > 500
    found, _ = groups_of(vectors, exact_clips=100)
    same = sum(group in exact for group in found)
    assert same >= 0.99 * len(exact)
    assert same >= 0.99 * len(found)
