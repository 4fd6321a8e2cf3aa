"""Which samples make which batch: a pure function of the seed and the step, so that a trainer's place in its data is one integer."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from models.train.buckets import Bucket

_CLIPS, _ORDER = 0, 1  # streams of randomness


@dataclass(frozen=True)
class Draw:
    """One sample to read. row: of the clip in the table; epoch: how often its bucket has gone round, which chooses the window; index: the
    sample's number since the start of training, which is all that its noise depends on.
    """

    bucket: int
    row: int
    epoch: int
    index: int


class BatchPlan:
    """Every bucket is an endless row of shuffled rounds over its clips, cut into batches; a round of the plan takes enough batches of each
    bucket to see every clip, in shuffled order. So the smallest bucket fills its batches too (by going round more often), nothing is
    dropped, and steps per bucket are in proportion to its clips.
    """

    def __init__(self, buckets: Sequence[Bucket], seed: int, image_share: float = 0.0) -> None:
        """image_share: of the steps, for the buckets of images. Raises ValueError without buckets."""
        if not buckets:
            raise ValueError("a batch plan needs at least one bucket")
        self._buckets, self._seed = tuple(buckets), seed
        self._batches = _batches_per_round(self._buckets, image_share)
        self.round_steps = sum(self._batches)
        self._round_samples = sum(n * bucket.batch for n, bucket in zip(self._batches, self._buckets, strict=True))
        self._order = lru_cache(maxsize=2)(self._shuffled_round)
        self._clips = lru_cache(maxsize=4 * len(self._buckets))(self._shuffled_clips)

    def bucket_of(self, step: int) -> int:
        """The bucket of a step, steps from 0."""
        return int(self._order(step // self.round_steps)[0][step % self.round_steps])

    def first_index(self, step: int) -> int:
        """Samples drawn before `step`, over all processes."""
        return step // self.round_steps * self._round_samples + int(self._order(step // self.round_steps)[1][step % self.round_steps])

    def batch(self, step: int) -> list[Draw]:
        """The samples of one step, over all processes."""
        turn, place = divmod(step, self.round_steps)
        which = self.bucket_of(step)
        bucket = self._buckets[which]
        before = int((self._order(turn)[0][:place] == which).sum())
        first = (turn * self._batches[which] + before) * bucket.batch
        start = self.first_index(step)
        return [self._draw(which, first + i, start + i) for i in range(bucket.batch)]

    def times_drawn(self, which: int, step: int) -> np.ndarray:
        """int64 [clips of the bucket]: how often each was drawn in the steps before `step`."""
        turn, place = divmod(step, self.round_steps)
        batches = turn * self._batches[which] + int((self._order(turn)[0][:place] == which).sum())
        rounds, rest = divmod(batches * self._buckets[which].batch, len(self._buckets[which].rows))
        times = np.full(len(self._buckets[which].rows), rounds, np.int64)
        times[self._clips(which, rounds)[:rest]] += 1
        return times

    def _draw(self, which: int, position: int, index: int) -> Draw:
        rows = self._buckets[which].rows
        epoch, place = divmod(position, len(rows))
        return Draw(which, rows[int(self._clips(which, epoch)[place])], epoch, index)

    def _shuffled_clips(self, which: int, epoch: int) -> np.ndarray:
        return np.random.default_rng([self._seed, _CLIPS, which, epoch]).permutation(len(self._buckets[which].rows))

    def _shuffled_round(self, turn: int) -> tuple[np.ndarray, np.ndarray]:
        """The buckets of a round's steps, and how many samples of the round come before each step."""
        order = np.repeat(np.arange(len(self._buckets)), self._batches)
        np.random.default_rng([self._seed, _ORDER, turn]).shuffle(order)
        sizes = np.array([bucket.batch for bucket in self._buckets])[order]
        return order, np.cumsum(sizes) - sizes


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
