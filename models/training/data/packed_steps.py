"""Steps that are filled up to a budget of tokens with samples of many buckets."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from clipmill.models.training.data.buckets import Bucket

_STREAM = 2  # of randomness, beside those of the batch plan


def packed_steps(buckets: Sequence[Bucket], batches: Sequence[int], seed: int) -> np.ndarray:
    """int64 [steps, buckets]: the samples of each bucket in the steps of a round, which together hold `batches` of each
    bucket; the last step is filled with more of them, so that no step is small. Buckets come at random, in proportion
    to what they still have; a step is full when nothing that is left fits. A batch larger than the budget has a step of
    its own. Every round uses the same steps, in another order and with other clips: so the number of steps before a
    round is known without making them.
    """
    costs = [bucket.batch * bucket.packed.tokens for bucket in buckets if bucket.packed]
    budget = min(bucket.packed.budget for bucket in buckets if bucket.packed)
    rng, left, steps = np.random.default_rng([seed, _STREAM]), list(batches), []
    while any(left):
        steps.append(_filled([0] * len(buckets), left, costs, budget, rng))
    before = 0
    while sum(steps[-1]) > before:
        before = sum(steps[-1])
        _filled(steps[-1], list(batches), costs, budget, rng)
    return np.array(steps) * np.array([bucket.batch for bucket in buckets])


def _filled(step: list[int], left: list[int], costs: Sequence[int], budget: int, rng: np.random.Generator) -> list[int]:
    """Moves batches from `left` into the step until none fits."""
    room = budget - sum(count * cost for count, cost in zip(step, costs, strict=True))
    while True:
        fitting = [count if cost <= room or not any(step) else 0 for count, cost in zip(left, costs, strict=True)]
        ends = list(accumulate(fitting))
        if not ends[-1]:
            return step
        chosen = bisect_right(ends, int(rng.integers(ends[-1])))
        step[chosen], left[chosen], room = step[chosen] + 1, left[chosen] - 1, room - costs[chosen]
