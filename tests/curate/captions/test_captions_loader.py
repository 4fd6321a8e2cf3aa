"""Training draws among a clip's captions in proportion to their weights, as the manifest holds them; failed ones
never.
"""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipmill.curate.contract import schema
from clipmill.curate.contract.captions import caption
from clipmill.curate.dataset import pick_caption
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_exported
from clipmill.models.config import load
from clipmill.models.training.data.batch_plan import Draw
from clipmill.models.training.data.buckets import make_buckets
from clipmill.models.training.data.windows import Windows

WEIGHTS = {"coca": 0.5, "video": 0.25, "merge": 0.25, "attributes": 0.1}
TOTAL = sum(WEIGHTS.values())


def captions_of(clip_id):
    """Four that are there, one of no weight, and two that failed."""
    there = [caption(source, "tiny", f"{source} of {clip_id}", weight, "ok") for source, weight in WEIGHTS.items()]
    never = [
        caption("sidecar", None, "never", 0.0, "ok"),
        caption("server", "x", None, 1.0, "error"),
        caption("old", "x", "stale", 9.0, "error"),
    ]
    return [never[0], *there, *never[1:]]


@pytest.fixture(scope="module")
def run(demo_run, tmp_path_factory) -> Path:
    """The demo run with these captions in its manifest."""
    folder = tmp_path_factory.mktemp("captions")
    manifest = pq.read_table(demo_run / "manifest.parquet")
    made = pa.array([captions_of(i) for i in manifest["clip_id"].to_pylist()], pa.list_(schema.CAPTION))
    place = manifest.column_names.index("captions")
    pq.write_table(manifest.set_column(place, "captions", made), folder / "manifest.parquet")
    (folder / "shards").symlink_to(demo_run / "shards", target_is_directory=True)
    return folder


@pytest.fixture(scope="module")
def windows(run) -> Windows:
    data = load("demo").data
    buckets = make_buckets(read_exported(RunDir(run)).to_pandas(), data.where, data, lambda grid: 1)
    return Windows(run, buckets.table, buckets.buckets, data, seed=3)


def test_the_training_loader_draws_in_proportion(windows):
    rows, epochs = range(len(windows.clips)), range(100)
    drawn = [windows.caption(row, epoch) for row in rows for epoch in epochs]
    counts = Counter(text.split(" of ")[0] for text in drawn)
    assert set(counts) == set(WEIGHTS)
    for source, weight in WEIGHTS.items():
        share = weight / TOTAL
        # five standard errors
        assert counts[source] / len(drawn) == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / len(drawn)))


def test_each_clip_gets_its_own_captions_all_in_turn_and_the_same_every_time(windows):
    for row in range(3):
        drawn = [windows.caption(row, epoch) for epoch in range(60)]
        assert {text.split(" of ")[1] for text in drawn} == {windows.clip_id(row)}
        assert len({text.split(" of ")[0] for text in drawn}) == len(WEIGHTS)
        assert drawn == [windows.caption(row, epoch) for epoch in range(60)]


def test_a_window_carries_the_caption_of_its_epoch(windows):
    row = windows.buckets[0].rows[0]
    assert windows[Draw(0, row, 7, 0)].caption == windows.caption(row, 7)


def test_weights_count_relative_to_those_that_are_there():
    rng = np.random.default_rng(0)
    two = [
        caption("a", None, "a", 0.25, "ok"),
        caption("b", None, "b", 0.25, "ok"),
        caption("c", None, None, 0.5, "not_run"),
    ]
    drawn = Counter(pick_caption(two, rng) for _ in range(2000))
    assert drawn["a"] / 2000 == pytest.approx(0.5, abs=0.06)
    assert pick_caption([caption("a", None, "a", 0.0, "ok")], rng) == ""
