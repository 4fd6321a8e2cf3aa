"""Windows of real exported clips: the same pixels whichever way they are read, at the size of their bucket."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from clipmill.curate.dataset import decode_window
from clipmill.curate.errors import UserError
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_exported
from clipmill.curate.video.resize_to_cover import covered
from clipmill.models.config import load
from clipmill.models.core.keyed import keyed_rng
from clipmill.models.processes import Processes
from clipmill.models.training.data.batch_plan import BatchPlan, Draw
from clipmill.models.training.data.buckets import Buckets, make_buckets
from clipmill.models.training.data.loader import Facts, Loader
from clipmill.models.training.data.windows import Window, Windows


@pytest.fixture(scope="module")
def found(tiny_run: Path) -> Buckets:
    data = load("demo").data
    return make_buckets(read_exported(RunDir(tiny_run)).to_pandas(), data.where, data, lambda grid: 1)


def test_a_clip_decoded_whole_has_the_windows_that_are_decoded_one_by_one(tiny_run: Path, found: Buckets):
    data = load("demo").data
    windows = Windows(tiny_run, found.table, found.buckets, data, seed=3)
    for row in found.buckets[0].rows[:3]:
        for epoch in (0, 5):
            window = windows[Draw(0, row, epoch, 0)]
            rng = keyed_rng(3, "window", window.clip_id, epoch)
            video, fps, _ = decode_window(windows.clips.read(row), data.frames[0], data.stride, rng)
            assert torch.equal(window.video, covered(video, 32, 32))
            assert window.fps == fps == 8.0


def test_windows_repeat_after_their_number_and_differ_before(tiny_run: Path, found: Buckets):
    windows = Windows(tiny_run, found.table, found.buckets, replace(load("demo").data, windows=4), seed=0)
    videos = [windows[Draw(0, found.buckets[0].rows[0], epoch, 0)].video for epoch in range(8)]
    assert all(torch.equal(videos[k], videos[k + 4]) for k in range(4))
    assert not all(torch.equal(videos[0], video) for video in videos[1:4])


def test_half_of_the_windows_are_mirrored(tiny_run: Path, found: Buckets):
    plain = Windows(tiny_run, found.table, found.buckets, load("demo").data, seed=0)
    turned = Windows(tiny_run, found.table, found.buckets, replace(load("demo").data, flip=True), seed=0)
    row, mirrored = found.buckets[0].rows[0], []
    for epoch in range(16):
        one, other = plain[Draw(0, row, epoch, 0)].video, turned[Draw(0, row, epoch, 0)].video
        assert torch.equal(one, other) or torch.equal(one, other.flip(3))
        mirrored.append(not torch.equal(one, other))
    assert 3 <= sum(mirrored) <= 13


def test_appended_images_are_frames_of_other_clips(tiny_run: Path, found: Buckets):
    data = replace(load("demo").data, windows=None, cache="none", images_per_clip=2)
    windows = Windows(tiny_run, found.table, found.buckets, data, seed=0)
    first, second = (windows[Draw(0, found.buckets[0].rows[0], 0, index)].video for index in (0, 1))
    assert first.shape == (10, 3, 32, 32)
    assert torch.equal(first[:8], second[:8]), "the window belongs to the clip"
    assert not torch.equal(first[8:], second[8:]), "the images belong to the sample"


@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 48), (300, 300)])
def test_pictures_are_covered_in_their_middle_without_distortion(height: int, width: int):
    disc = np.zeros((120, 200, 3), np.uint8)
    cv2.circle(disc, (100, 60), 30, (255, 255, 255), -1)
    out = covered(torch.from_numpy(disc).permute(2, 0, 1)[None], height, width)
    assert out.shape == (1, 3, height, width)
    seen = out[0, 0].numpy() > 127
    rows, columns = np.nonzero(seen)
    scale = max(height / 120, width / 200)
    # The disc's centre is the middle of a pixel, half a pixel of the source beside the picture's own.
    assert rows.mean() == pytest.approx((height - 1) / 2 + scale / 2, abs=0.6)
    assert columns.mean() == pytest.approx((width - 1) / 2 + scale / 2, abs=0.6)
    assert seen.sum() == pytest.approx(min(np.pi * (30 * scale) ** 2, seen.size), rel=0.12)


class LargeWindows:
    """Windows that take long to hand over."""

    def __getitem__(self, draw: Draw) -> Window:
        return Window(draw.row, torch.zeros(4, 3, 1024, 1024, dtype=torch.uint8), None, f"{draw.row}", 0, "", 8.0)


@pytest.mark.slow
def test_workers_that_still_read_ahead_end_without_a_word(found: Buckets, capfd: pytest.CaptureFixture):
    loader = Loader(LargeWindows(), found.table, found.buckets, BatchPlan(found.buckets, seed=0), Facts())
    for _ in range(2):
        batches = loader.batches(0, Processes(0, 1, torch.device("cpu")), workers=1)
        assert next(batches).video is not None
        batches.close()
    said = capfd.readouterr().err
    assert "terminate" not in said
    assert "Exception" not in said


class Missing:
    """A source whose clips are all gone; picklable, for worker processes."""

    def __getitem__(self, draw: Draw) -> Window:
        raise UserError("no clip decodes: bring the shards back")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.slow
def test_what_a_worker_cannot_read_is_said_in_its_own_words(found: Buckets, workers: int):
    plan = BatchPlan(found.buckets, 0)
    loader = Loader(Missing(), found.table, found.buckets, plan, Facts())
    with pytest.raises(UserError, match=r"^no clip decodes: bring the shards back$"):
        next(loader.batches(0, Processes(0, 1, torch.device("cpu")), workers=workers))
