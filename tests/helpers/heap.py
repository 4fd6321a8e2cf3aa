"""What earlier work may have left in the memory that the next allocation gets."""

import numpy as np


def left_behind(value: int) -> None:
    """Free memory, about 10 MB, full of one int16; other kinds of C library than glibc may give it back instead."""
    np.empty(30 << 20, np.uint8)  # once freed, glibc keeps blocks of up to this size for the next allocation
    blocks = [np.full(1 << 16, value, np.int16) for _ in range(80)]
    del blocks
