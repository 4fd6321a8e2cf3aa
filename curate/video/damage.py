"""Which frames of a decode cannot be trusted."""

from collections.abc import Sequence

import numpy as np


def after_corrupt(n_frames: int, corrupt: Sequence[int], keys: Sequence[int]) -> np.ndarray:
    """bool [N], frames in display order: those from a corrupt one on, up to the next key frame, where decoding starts
    anew. corrupt, keys: indices of frames.
    """
    at = np.arange(n_frames)
    bad, key = np.full(n_frames, -1), np.zeros(n_frames, int)
    bad[list(corrupt)] = at[list(corrupt)]
    key[list(keys)] = at[list(keys)]
    return np.maximum.accumulate(bad) >= np.maximum.accumulate(key)
