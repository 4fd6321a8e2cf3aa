"""Which frames of a decode cannot be trusted."""

from collections.abc import Sequence

import numpy as np


def after_corrupt(
    n_frames: int, corrupt: Sequence[int], keys: Sequence[int], bidirectional: Sequence[int] = ()
) -> np.ndarray:
    """bool [N], frames in display order: those from a corrupt one on, up to the next key frame, where decoding starts
    anew; and the B-frames just before one that is none itself, because they were decoded after it. corrupt, keys,
    bidirectional: indices of frames.
    """
    at = np.arange(n_frames)
    bad, key, between = np.full(n_frames, -1), np.zeros(n_frames, int), np.zeros(n_frames, bool)
    bad[list(corrupt)] = at[list(corrupt)]
    key[list(keys)] = at[list(keys)]
    between[list(bidirectional)] = True
    found = np.maximum.accumulate(bad) >= np.maximum.accumulate(key)
    for index in (i for i in corrupt if not between[i]):
        before = index - 1
        while before >= 0 and between[before]:
            found[before], before = True, before - 1
    return found
