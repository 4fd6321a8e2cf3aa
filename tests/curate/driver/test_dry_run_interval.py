"""The estimate of a dry run: its interval holds the truth about as often as it says."""

import numpy as np

from clipmill.curate.driver.dry_run import SAMPLE_VIDEOS, clips_interval


def test_the_interval_of_the_clips_holds_the_truth():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        size = rng.lognormal(14, 1, 84).astype(int) + 1
        clips = rng.poisson(2.7 * rng.gamma(2, 0.5, 84) * size / size.mean())
        chosen = rng.choice(84, SAMPLE_VIDEOS, replace=False)
        low, middle, high = clips_interval([(int(clips[i]), int(size[i])) for i in chosen], int(size.sum()))
        assert low <= middle <= high
        held += low <= clips.sum() <= high
    assert 0.85 < held / 400 < 0.995, held / 400


def test_what_was_counted_is_the_least_and_one_video_says_little():
    assert clips_interval([(3, 100)], 200) == (3, 6, 20)
    assert clips_interval([(0, 100), (0, 50)], 1000) == (0, 0, 0)
