"""Which frames of a decode cannot be trusted."""

from collections.abc import Sequence

import numpy as np


def after_corrupt(
    n_frames: int,
    corrupt: Sequence[int],
    keys: Sequence[int],
    bidirectional: Sequence[int] = (),
    lost: Sequence[int] = (),
) -> np.ndarray:
    """bool [N], frames in display order: those from a corrupt one on, up to the next key frame, where decoding starts
    anew; and the B-frames just before one that is none itself, because they were decoded after it. A lost frame is as a
    corrupt one; none is touched where a key frame follows it. corrupt, keys, bidirectional: indices of frames; lost: of
    the frame that is shown after it.
    """
    at = np.arange(n_frames)
    bad, key, between = np.full(n_frames, -1), np.zeros(n_frames, int), np.zeros(n_frames, bool)
    key[list(keys)] = at[list(keys)]
    causes = [*corrupt, *sorted(set(lost).difference(keys))]
    bad[causes] = at[causes]
    between[list(bidirectional)] = True
    found = np.maximum.accumulate(bad) >= np.maximum.accumulate(key)
    for index in (i for i in causes if not between[i]):
        before = index - 1
        while before >= 0 and between[before]:
            found[before], before = True, before - 1
    return found
