"""Corruptions do what they say, grow with their level and leave their input alone; the study and its plot."""

import json
from itertools import pairwise

import cv2
import numpy as np
import pytest

from clipmill.curate.errors import UserError
from clipmill.evaluate.distances.frechet import frechet_distance
from clipmill.evaluate.studies import degrade
from clipmill.evaluate.studies.degrade import CORRUPTIONS, Source, corrupted, monotone, plot, study

pytestmark = pytest.mark.slow


NAMED = {c.name: c for c in CORRUPTIONS}


def numbered(frames: int = 16, height: int = 48, width: int = 80, start: int = 0) -> np.ndarray:
    """uint8 [T, H, W, 3]: frame t is grey of level start + 8 t."""
    levels = (start + 8 * np.arange(frames)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(levels[:, None, None, None], (frames, height, width, 3)))


def textured(count: int, size=(48, 80), frames: int = 16) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (frames, *size, 3), dtype=np.uint8) for _ in range(count)]


def order_of(clip: np.ndarray, start: int = 0) -> list[int]:
    return [(int(f[0, 0, 0]) - start) // 8 for f in clip]


def changed(name: str, level: float, clip: np.ndarray, other: np.ndarray | None = None) -> np.ndarray:
    return NAMED[name].change(clip, level, Source(np.random.default_rng(5), clip if other is None else other))


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda c: c.name)
def test_shape_stays_and_the_input_is_left_alone(corruption):
    clips = textured(8)
    before = [c.copy() for c in clips]
    for level in corruption.levels:
        for clip in corrupted(clips, corruption, level):
            assert clip.shape == clips[0].shape
            assert clip.dtype == np.uint8
    assert all(np.array_equal(a, b) for a, b in zip(clips, before, strict=True))


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=lambda c: c.name)
def test_levels_rise_and_each_changes_more(corruption):
    """More pixels differ from the clean ones, or they differ by more, and the same seed gives the same copies."""
    assert len(corruption.levels) >= 3
    assert list(corruption.levels) == sorted(set(corruption.levels))
    clips = [np.stack([cv2.GaussianBlur(f, (0, 0), 1.5) for f in c]) for c in textured(8, (96, 160))]
    size = [
        np.abs(np.subtract(clips, list(corrupted(clips, corruption, x)), dtype=float)).mean() for x in corruption.levels
    ]
    assert size[0] > 0
    if corruption.name != "frozen-frames":  # independent frames differ alike, however long one is held
        assert all(b > a for a, b in pairwise(size))
    again = [list(corrupted(clips, corruption, corruption.levels[1], seed=3)) for _ in range(2)]
    assert all(np.array_equal(a, b) for a, b in zip(*again, strict=True))


@pytest.mark.parametrize(("share", "moved"), [(0.25, 4), (0.5, 8), (1.0, 16)])
def test_local_swap_exchanges_neighbours(share, moved):
    order = order_of(changed("local-swap", share, numbered()))
    assert sorted(order) == list(range(16))
    assert sum(a != t for t, a in enumerate(order)) == moved
    assert all(abs(a - t) <= 1 for t, a in enumerate(order))


@pytest.mark.parametrize(("share", "moved"), [(0.25, 4), (0.5, 8), (1.0, 16)])
def test_global_swap_exchanges_frames_anywhere(share, moved):
    order = order_of(changed("global-swap", share, numbered()))
    assert sorted(order) == list(range(16))
    assert sum(a != t for t, a in enumerate(order)) == moved
    assert all(order[order[t]] == t for t in range(16))


def test_frozen_frames_repeat_the_one_before():
    order = order_of(changed("frozen-frames", 0.6, numbered()))
    assert order[0] == 0
    assert sum(a == b for a, b in pairwise(order)) == 9
    assert all(b in (a, t) for t, (a, b) in enumerate(pairwise(order), 1))


@pytest.mark.parametrize(("share", "foreign"), [(1 / 8, 2), (1 / 4, 4), (1 / 3, 5), (1 / 2, 8)])
def test_interleaving_keeps_the_time_of_the_frames(share, foreign):
    woven = changed("interleave", share, numbered(), numbered(start=1))
    levels = woven[:, 0, 0, 0].astype(int)
    assert (levels // 8 == np.arange(16)).all()
    assert (levels % 8 == 1).sum() == foreign
    gaps = np.diff(np.flatnonzero(levels % 8 == 1))
    assert gaps.max() - gaps.min() <= 1


def test_switch_reverse_and_shuffle_change_a_share_of_the_clips():
    clips = [numbered(start=k) for k in range(8)]
    for name in ("switch", "reverse", "shuffle"):
        touched = []
        for level in NAMED[name].levels:
            copies = list(corrupted(clips, NAMED[name], level))
            touched.append({i for i, (a, b) in enumerate(zip(clips, copies, strict=True)) if not np.array_equal(a, b)})
            assert len(touched[-1]) == round(8 * level)
        assert touched[0] < touched[1] < touched[2] < touched[3]
    switched = next(iter(corrupted(clips, NAMED["switch"], 1.0)))
    assert (switched[:, 0, 0, 0] % 8).tolist() == [0] * 8 + [1] * 8
    assert order_of(next(iter(corrupted(clips, NAMED["reverse"], 1.0)))) == list(range(15, -1, -1))


@pytest.mark.parametrize("size", [(48, 80), (96, 160), (240, 400)])
def test_static_levels_mean_the_same_at_any_size(size):
    grey = np.full((8, *size, 3), 128, np.uint8)
    assert (changed("black-rectangle", 0.2, grey) == 0).mean() == pytest.approx(0.2, abs=0.02)
    assert (changed("salt-pepper", 0.1, grey) != 128).mean() == pytest.approx(0.1, abs=0.01)
    small = np.stack(
        [cv2.resize(f, (64, 64), interpolation=cv2.INTER_AREA) for f in changed("gaussian-noise", 16, grey)]
    )
    assert 9 < small.std() < 17  # a resize to what a network sees must leave most of the noise
    ramp = np.tile(np.linspace(0, 255, size[1]).astype(np.uint8)[None, None, :, None], (1, size[0], 1, 3))
    levels = len(np.unique(changed("blockiness", 1 / 8, ramp)[0, 0, :, 0]))
    assert levels == round(8 * size[1] / size[0])


def test_noise_has_its_deviation_and_no_bias():
    noisy = changed("gaussian-noise", 16, np.full((16, 64, 64, 3), 128, np.uint8)).astype(float) - 128
    assert noisy.std() == pytest.approx(16, rel=0.02)
    assert abs(noisy.mean()) < 0.1


def means_and_steps(batch):
    """A feature that anyone can check: mean and contrast of the pictures, mean step in time, mean step in space."""
    x = [c.astype(float) for c in batch]
    return np.array(
        [[c.mean(), c.std(), np.abs(np.diff(c, axis=0)).mean(), np.abs(np.diff(c, axis=2)).mean()] for c in x]
    )


def test_study_measures_the_distance_to_the_own_copies():
    clips = [c // 2 + 60 for c in textured(10)]
    rows = study(clips, means_and_steps, [NAMED["gaussian-noise"], NAMED["gaussian-blur"], NAMED["reverse"]], batch=3)
    assert [r["corruption"] for r in rows] == ["gaussian-noise"] * 4 + ["gaussian-blur"] * 4 + ["reverse"] * 4
    assert monotone(rows)["gaussian-noise"]
    assert monotone(rows)["gaussian-blur"]
    assert not monotone(rows)["reverse"]  # this feature cannot see it
    assert all(abs(r["distance"]) < 1e-6 for r in rows[8:])
    copies = list(corrupted(clips, NAMED["gaussian-blur"], 0.02))
    assert rows[6]["distance"] == pytest.approx(
        frechet_distance(means_and_steps(clips), means_and_steps(copies)), rel=1e-9
    )
    json.dumps(rows)


def test_study_takes_clips_of_mixed_sizes_and_frame_features():
    clips = textured(4, (32, 48)) + textured(4, (48, 32)) + textured(1, (300, 400), frames=16)
    seen = []

    def per_frame(batch):
        seen.extend(c.shape[1:3] for c in batch)
        return np.stack([c.reshape(len(c), -1, 3).mean(1) for c in batch])

    rows = study(clips, per_frame, [NAMED["interleave"]])
    assert all(np.isfinite(r["distance"]) for r in rows)
    assert max(min(s) for s in seen) == degrade.WORK_SIDE_PX


@pytest.mark.parametrize(
    ("clips", "reason"),
    [
        (textured(4), "at least 8 clips"),
        (textured(8, frames=4), "at least 8 frames"),
        (textured(7) + textured(1, frames=17), "one length"),
    ],
    ids=["few", "short", "mixed"],
)
def test_study_refuses_what_it_cannot_use(clips, reason):
    with pytest.raises(UserError, match=reason):
        study(clips, means_and_steps)


def rows_of_all():
    return [
        degrade.Row(corruption=c.name, level=x, meaning=c.level, distance=float(k + 1))
        for c in CORRUPTIONS
        for k, x in enumerate(c.levels)
    ]


def test_plot_is_a_picture_titled_by_the_features(tmp_path):
    plot(rows_of_all(), tmp_path / "p.png", "Fréchet distance (mini)")
    picture = cv2.imread(str(tmp_path / "p.png"))
    assert picture.shape[1] > 1200
    assert picture.std() > 5
    plot(rows_of_all(), tmp_path / "p.svg", "Fréchet distance (mini)")
    assert "FVD" not in (tmp_path / "p.svg").read_text()


def test_plot_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot write the plot"):
        plot(rows_of_all(), tmp_path / "nowhere" / "p.png", "x")
    with pytest.raises(UserError, match="cannot write the plot"):
        plot(rows_of_all(), tmp_path / "p.nothing", "x")
