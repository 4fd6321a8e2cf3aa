"""Which samples make which batch: a pure function of the seed and the step, so that a trainer's place in its data is
one integer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from clipmill.models.training.data.buckets import Bucket
from clipmill.models.training.data.packed_steps import packed_steps

_CLIPS, _ORDER = 0, 1  # streams of randomness


@dataclass(frozen=True)
class Draw:
    """One sample to read. row: of the clip in the table; epoch: how often its bucket has gone round, which chooses the
    window; index: the sample's number since the start of training, which is all that its noise depends on.
    """

    bucket: int
    row: int
    epoch: int
    index: int


class BatchPlan:
    """Every bucket is an endless row of shuffled rounds over its clips, cut into batches; a round of the plan takes
    enough batches of each bucket to see every clip, in shuffled order. So the smallest bucket fills its batches too (by
    going round more often), nothing is dropped, and steps per bucket are in proportion to its clips. Where buckets are
    packed a step has batches of several buckets.
    """

    def __init__(self, buckets: Sequence[Bucket], seed: int, image_share: float = 0.0) -> None:
        """image_share: of the steps, for the buckets of images. Raises ValueError without buckets."""
        if not buckets:
            raise ValueError("a batch plan needs at least one bucket")
        self._buckets, self._seed = tuple(buckets), seed
        batches = _batches_per_round(self._buckets, image_share)
        self._steps = (
            packed_steps(self._buckets, batches, seed)
            if buckets[0].packed
            else _steps_of_one_bucket(self._buckets, batches)
        )
        self.round_steps, self._drawn_per_round = len(self._steps), self._steps.sum(axis=0)
        self._order = lru_cache(maxsize=2)(self._shuffled_round)
        self._clips = lru_cache(maxsize=4 * len(self._buckets))(self._shuffled_clips)

    def bucket_of(self, step: int) -> int:
        """The bucket of a step, steps from 0; of a packed step the one with most samples."""
        return int(self._counts(step).argmax())

    def first_index(self, step: int) -> int:
        """Samples drawn before `step`, over all processes."""
        return int(self._drawn_before(step).sum())

    def batch(self, step: int) -> list[Draw]:
        """The samples of one step, over all processes, bucket by bucket."""
        counts, before = self._counts(step), self._drawn_before(step)
        places = [(int(which), int(before[which]) + i) for which in counts.nonzero()[0] for i in range(counts[which])]
        start = int(before.sum())
        return [self._draw(which, position, start + i) for i, (which, position) in enumerate(places)]

    def times_drawn(self, which: int, step: int) -> np.ndarray:
        """int64 [clips of the bucket]: how often each was drawn in the steps before `step`."""
        rounds, rest = divmod(int(self._drawn_before(step)[which]), len(self._buckets[which].rows))
        times = np.full(len(self._buckets[which].rows), rounds, np.int64)
        times[self._clips(which, rounds)[:rest]] += 1
        return times

    def _counts(self, step: int) -> np.ndarray:
        """int64 [buckets]: samples of a step."""
        turn, place = divmod(step, self.round_steps)
        return self._steps[self._order(turn)[0][place]]

    def _drawn_before(self, step: int) -> np.ndarray:
        """int64 [buckets]: samples in the steps before this one."""
        turn, place = divmod(step, self.round_steps)
        return turn * self._drawn_per_round + self._order(turn)[1][place]

    def _draw(self, which: int, position: int, index: int) -> Draw:
        rows = self._buckets[which].rows
        epoch, place = divmod(position, len(rows))
        return Draw(which, rows[int(self._clips(which, epoch)[place])], epoch, index)

    def _shuffled_clips(self, which: int, epoch: int) -> np.ndarray:
        return np.random.default_rng([self._seed, _CLIPS, which, epoch]).permutation(len(self._buckets[which].rows))

    def _shuffled_round(self, turn: int) -> tuple[np.ndarray, np.ndarray]:
        """int64 [steps], the order of a round's steps; int64 [steps, buckets], how many samples of the round come
        before each.
        """
        order = np.arange(self.round_steps)
        np.random.default_rng([self._seed, _ORDER, turn]).shuffle(order)
        counts = self._steps[order]
        return order, np.cumsum(counts, axis=0) - counts


def _steps_of_one_bucket(buckets: Sequence[Bucket], batches: Sequence[int]) -> np.ndarray:
    sizes = np.diag([bucket.batch for bucket in buckets])
    return np.repeat(sizes, batches, axis=0)


def _batches_per_round(buckets: Sequence[Bucket], image_share: float) -> list[int]:
    needed = [-(-len(bucket.rows) // bucket.batch) for bucket in buckets]
    images = sum(n for n, bucket in zip(needed, buckets, strict=True) if bucket.images)
    if not images:
        return needed
    videos = sum(needed) - images
    # Videos go round as often as it takes for one batch of every image bucket to be its share.
    wanted = videos * image_share / (1 - image_share)
    times = max(1, round(max(1.0, images / wanted)))
    scale = videos * times * image_share / (1 - image_share) / images
    return [max(1, round(n * scale)) if bucket.images else n * times for n, bucket in zip(needed, buckets, strict=True)]
