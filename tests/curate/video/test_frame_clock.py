"""Constant frame rate from any timeline."""

from fractions import Fraction

import numpy as np
import pytest

from clipmill.curate.video.frame_clock import FrameClock, promised_frames, rational_rate


@pytest.mark.parametrize("seed", range(3))
def test_timestamp_jitter_neither_repeats_nor_drops(seed):
    """Milliseconds, each off by up to a third of a frame: at the same rate every frame comes once."""
    jitter = np.random.default_rng(seed).integers(-11, 12, 60)
    jitter[[10, 50]] = 0
    clock = FrameClock(333, 1667, Fraction(1, 1000), Fraction(30))
    pts = [round(i * 1000 / 30) + int(j) for i, j in enumerate(jitter)][10:50]
    assert [clock.repeats(p, q) for p, q in zip(pts, [*pts[1:], None], strict=True)] == [1] * 40


def test_frame_clock_fills_exactly_the_promise():
    rng = np.random.default_rng(7)
    for _ in range(200):
        pts = np.cumsum(rng.integers(1, 9000, rng.integers(1, 40))).tolist()
        end, rate = pts[-1] + int(rng.integers(1, 5000)), rational_rate(float(rng.uniform(1, 120)))
        clock = FrameClock(pts[0], end, Fraction(1, 90000), rate)
        shown = [clock.repeats(p, q) for p, q in zip(pts, [*pts[1:], None], strict=True)]
        assert sum(shown) == clock.n_frames == promised_frames(pts[0], end, Fraction(1, 90000), rate) >= 1
        # No output frame shows a source frame more than 3/8 of an output frame before its time, or after the next one's
        # time.
        times = pts[0] + np.arange(sum(shown)) * float(90000 / rate)
        which = np.repeat(np.arange(len(pts)), shown)
        assert (np.asarray(pts)[which] <= times + 0.376 * float(90000 / rate)).all()
        assert all(w + 1 >= len(pts) or pts[w + 1] > t for w, t in zip(which, times, strict=True))


@pytest.mark.parametrize(
    ("fps", "rate"),
    [(23.976, (24000, 1001)), (24, (24, 1)), (29.97003, (30000, 1001)), (30.02, (30, 1)), (14.375, (115, 8))],
)
def test_rates_are_rounded_to_common_ones(fps, rate):
    assert rational_rate(float(np.float32(fps))) == Fraction(*rate)
