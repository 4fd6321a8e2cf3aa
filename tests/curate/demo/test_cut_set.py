"""The rendered kinds of cuts: their files hold what their truth says."""

import av
import numpy as np
import pandas as pd
from helpers.commands import invoke, one_line

from clipmill.curate.demo.changes import GRADUAL, HARD, KINDS, NEITHER, film
from clipmill.curate.demo.cut_set import render_cuts


def test_files_and_truth_agree_and_a_seed_gives_the_same_frames(tmp_path):
    path = render_cuts(tmp_path / "a", seed=3, kinds=("near_end", "slides_1"))
    truth = pd.read_parquet(path)
    assert truth.groupby("kind")["file"].nunique().to_dict() == {"near_end": 4, "slides_1": 4}
    for file, events in truth.groupby("file"):
        with av.open(str(path.parent / file)) as video:
            frames = [f.to_ndarray(format="gray").astype(int) for f in video.decode(video=0)]
            rate = float(video.streams.video[0].average_rate)
        assert rate == events["rate"].iloc[0]
        steps = np.abs(np.diff(frames, axis=0)).mean((1, 2))
        for event in events.itertuples():
            assert steps[event.start_frame - 1] > 5
    again = film("near_end", False, True, 3)[0]
    assert np.array_equal(np.stack(again), np.stack(film("near_end", False, True, 3)[0]))


def test_every_kind_is_a_boundary_or_none_and_knows_its_events():
    assert sorted(KINDS) == sorted((*HARD, *GRADUAL, *NEITHER))
    frames, events, _ = film("black", True, False, 1)
    assert len(events) == 6
    assert all(frames[e.start].max() == 0 or frames[e.start - 1].max() == 0 for e in events)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    one_line(invoke("curate", "demo", tmp_path / "file" / "x", "--cuts"), "cannot write the demo videos")
