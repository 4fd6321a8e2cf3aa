"""Which clips a training reads, in which batches: buckets and the plan."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from clipmill.curate.errors import UserError
from clipmill.models.settings.training import DataConfig
from clipmill.models.training.data.batch_plan import BatchPlan
from clipmill.models.training.data.buckets import Bucket, make_buckets


def manifest(*clips: tuple[int, int, int]) -> pd.DataFrame:
    """A manifest of clips of (frames, width, height)."""
    rows = [
        {
            "clip_id": f"c{i}",
            "split": "train",
            "shard": "train-000000.tar",
            "offset": 0,
            "size": 1,
            "sha256": "",
            "export_n_frames": n,
        }
        | {"export_width": w, "export_height": h, "export_fps_num": 24, "export_fps_den": 1}
        for i, (n, w, h) in enumerate(clips)
    ]
    return pd.DataFrame(rows)


def tokens(grid: tuple[int, int, int]) -> int:
    return grid[0] * grid[1] * grid[2] // 64


def test_every_clip_is_in_one_bucket_or_left_out_with_the_reason():
    table = manifest((40, 456, 256), (40, 256, 456), (20, 456, 256), (10, 456, 256), (5, 456, 256), (40, 256, 256))
    table.loc[5, "shard"] = None
    config = DataConfig(frames=(8, 16), stride=2, sizes=("64x112", "112x64"), batch=4)
    found = make_buckets(table, "split = 'train'", config, tokens)
    shapes = {(b.frames, b.height_px, b.width_px): [found.table["clip_id"][r] for r in b.rows] for b in found.buckets}
    assert shapes == {(16, 64, 112): ["c0"], (16, 112, 64): ["c1"], (8, 64, 112): ["c2"]}
    assert found.left_out == {"not exported": 1, "too short": 2}
    assert all(b.fps == 12.0 for b in found.buckets)


def test_a_token_budget_gives_large_buckets_small_batches():
    table = manifest((40, 256, 256), (9, 256, 256))
    config = DataConfig(frames=(4, 16), stride=1, sizes=("64x64",), tokens=2100, batch_multiple=2)
    found = make_buckets(table, "", config, tokens)
    batches = {b.frames: b.batch for b in found.buckets}
    assert batches == {4: 8, 16: 2}, "2100 // (4 * 64) = 8 and 2100 // (16 * 64) = 2"


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("split = 'val'", "finds none of 2"),
        ("split = 'train'", "shorter than 64 frames"),
        ("nothing = 1", "does not work"),
    ],
)
def test_nothing_to_train_on_is_one_line_that_names_the_fix(where: str, says: str):
    with pytest.raises(UserError, match=says):
        make_buckets(manifest((40, 64, 64), (20, 64, 64)), where, DataConfig(frames=(64,)), tokens)


def buckets(*sizes: tuple[int, int], images: tuple[int, ...] = ()) -> list[Bucket]:
    """Buckets of (clips, batch)."""
    return [Bucket(4, 8, 8, 8.0, tuple(range(n)), batch, k in images) for k, (n, batch) in enumerate(sizes)]


def test_a_round_draws_every_clip_and_small_buckets_fill_their_batches():
    plan = BatchPlan(buckets((10, 4), (1, 4), (7, 2)), seed=3)
    drawn = Counter((d.bucket, d.row) for step in range(plan.round_steps) for d in plan.batch(step))
    assert set(drawn) == {(0, r) for r in range(10)} | {(1, 0)} | {(2, r) for r in range(7)}
    assert drawn[1, 0] == 4, "one clip fills a batch of four, each time with another epoch"
    epochs = sorted(d.epoch for step in range(plan.round_steps) for d in plan.batch(step) if d.bucket == 1)
    assert epochs == [0, 1, 2, 3]


def test_samples_are_numbered_without_a_gap_over_rounds():
    plan = BatchPlan(buckets((10, 4), (3, 2)), seed=0)
    indices = [d.index for step in range(3 * plan.round_steps) for d in plan.batch(step)]
    assert indices == list(range(len(indices)))


def test_a_batch_is_a_function_of_seed_and_step_alone():
    one, other = BatchPlan(buckets((10, 4), (3, 2)), seed=5), BatchPlan(buckets((10, 4), (3, 2)), seed=5)
    forwards = [one.batch(step) for step in range(30)]
    backwards = [other.batch(step) for step in reversed(range(30))][::-1]
    assert forwards == backwards
    assert forwards != [BatchPlan(buckets((10, 4), (3, 2)), seed=6).batch(step) for step in range(30)]


def test_rounds_of_one_bucket_are_permutations_in_new_order():
    plan = BatchPlan(buckets((12, 4)), seed=1)
    rows = [d.row for step in range(9) for d in plan.batch(step)]
    rounds = [tuple(rows[k : k + 12]) for k in (0, 12, 24)]
    assert all(sorted(order) == list(range(12)) for order in rounds)
    assert len(set(rounds)) == 3


def test_times_drawn_counts_what_batches_drew():
    plan = BatchPlan(buckets((10, 4), (3, 2)), seed=2)
    for step in (0, 1, 7, 23):
        drawn = Counter((d.bucket, d.row) for s in range(step) for d in plan.batch(s))
        for which, clips in ((0, 10), (1, 3)):
            assert plan.times_drawn(which, step).tolist() == [drawn[which, row] for row in range(clips)]


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5])
def test_images_have_their_share_of_the_steps(share: float):
    plan = BatchPlan(buckets((40, 4), (40, 4), images=(1,)), seed=0, image_share=share)
    steps = [plan.bucket_of(step) for step in range(20 * plan.round_steps)]
    assert np.mean(steps) == pytest.approx(share, rel=0.15)
