"""Splits: by source video, duplicates together, stable under growth, never an empty validation set where one is
possible.
"""

import hashlib

import numpy as np
import pandas as pd
import pytest

from clipmill.curate.duplicates.splits import assign_splits
from clipmill.curate.errors import UserError

NINE_ONE = {"train": 0.9, "val": 0.1}


def name(i: int) -> str:
    return hashlib.sha256(str(i).encode()).hexdigest()[:32]


def clips(n_videos: int, groups: dict[int, list[int]] | None = None) -> pd.DataFrame:
    """Two clips per video; `groups`: duplicate group -> videos whose first clip is in it."""
    rows = [{"video_id": name(v), "dup_group_id": None} for v in range(n_videos) for _ in range(2)]
    for group, videos in (groups or {}).items():
        for v in videos:
            rows[2 * v]["dup_group_id"] = f"g{group}"
    return pd.DataFrame(rows)


def test_shares_are_met_on_many_videos():
    split, info = assign_splits(clips(5000), {"train": 0.8, "val": 0.15, "test": 0.05})
    share = split.value_counts(normalize=True)
    assert share["train"] == pytest.approx(0.8, abs=0.02)
    assert share["val"] == pytest.approx(0.15, abs=0.02)
    assert share["test"] == pytest.approx(0.05, abs=0.02)
    assert info.messages() == []
    assert info.n_components == split.value_counts().to_dict()


def test_duplicates_stay_together_through_chains():
    """Groups 0 and 1 share video 5, so videos 1, 5, 9, 20 are one component though 1 and 20 share no group."""
    table = clips(60, {0: [1, 5, 9]})
    table.loc[2 * 5 + 1, "dup_group_id"] = "g1"
    table.loc[2 * 20, "dup_group_id"] = "g1"
    for seed in range(20):
        shuffled = table.sample(frac=1, random_state=seed)
        shuffled["video_id"] = [hashlib.sha256(f"{seed}{v}".encode()).hexdigest()[:32] for v in shuffled["video_id"]]
        split, _ = assign_splits(shuffled, {"train": 0.5, "val": 0.5})
        linked = [hashlib.sha256(f"{seed}{name(v)}".encode()).hexdigest()[:32] for v in (1, 5, 9, 20)]
        assert len({split[v] for v in linked}) == 1


def test_growth_keeps_splits_and_row_order_does_not_matter():
    small, _ = assign_splits(clips(400), NINE_ONE)
    large, _ = assign_splits(clips(4000).sample(frac=1, random_state=1), NINE_ONE)
    assert (large[small.index] == small).all()
    assert list(large.index) == sorted(large.index)


def test_a_larger_val_share_only_moves_train_videos():
    before, _ = assign_splits(clips(500), NINE_ONE)
    after, _ = assign_splits(clips(500), {"train": 0.7, "val": 0.3})
    assert (after[before[before == "val"].index] == "val").all()


@pytest.mark.parametrize("n_videos", range(2, 12))
def test_small_sets_get_a_validation_set(n_videos):
    split, info = assign_splits(clips(n_videos), NINE_ONE)
    assert set(split) == {"train", "val"}
    assert all(split[video] == target for video, target in info.moved.items())
    assert len(info.messages()) == len(info.moved) <= 1


def test_three_splits_of_three_videos_and_too_few():
    wanted = {"train": 0.98, "val": 0.01, "test": 0.01}
    split, _ = assign_splits(clips(3), wanted)
    assert sorted(split) == ["test", "train", "val"]
    split, info = assign_splits(clips(1), wanted)
    assert list(split) == ["train"]
    assert info.empty == ("val", "test")
    assert len(info.messages()) == 2


def test_duplicates_stay_together_even_when_a_split_must_be_filled():
    split, info = assign_splits(clips(4, {0: [0, 1, 2, 3]}), NINE_ONE)
    assert split.nunique() == 1
    assert len(info.empty) == 1


def test_no_duplicate_column_no_clips_and_nan():
    table = clips(50)
    without, _ = assign_splits(table[["video_id"]], NINE_ONE)
    with_nan, _ = assign_splits(table.assign(dup_group_id=np.nan), NINE_ONE)
    assert (without == with_nan).all()
    empty, info = assign_splits(table.iloc[:0], NINE_ONE)
    assert empty.empty
    assert info.messages() == []


@pytest.mark.parametrize("fractions", [{"train": 0.5}, {"train": 1.2, "val": -0.2}, {"train": 0.9, "dev": 0.1}])
def test_wrong_shares_are_the_users_to_mend(fractions):
    with pytest.raises(UserError, match="split"):
        assign_splits(clips(3), fractions)
