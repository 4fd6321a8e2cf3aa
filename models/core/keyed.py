"""Random numbers of NumPy that belong to a clip and a purpose."""

import hashlib

import numpy as np


def keyed_rng(seed: int, purpose: str, clip_id: str, number: int) -> np.random.Generator:
    """Random numbers that belong to a clip's window, not to a process."""
    digest = hashlib.sha256(f"{purpose}:{clip_id}".encode()).digest()[:16]
    return np.random.default_rng([seed, number, *np.frombuffer(digest, "<u4").tolist()])
