"""Tokens without weights: a fixed random vector for what stands at a place, and one for the place."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

_UNIFORMS = 12
_HALF_ROOT = 0.5**0.5


@lru_cache(maxsize=16_384)
def vector_of(name: str, dim: int) -> np.ndarray:
    """float32 [dim], mean 0 and variance 1, decided by the name alone, bit for bit on every machine and version: sums
    of twelve 16-bit numbers out of SHAKE-256, as good as normal (Irwin-Hall), in whole numbers until the last division
    by a power of two.
    """
    raw = np.frombuffer(hashlib.shake_256(name.encode()).digest(2 * _UNIFORMS * dim), "<u2").reshape(dim, _UNIFORMS)
    vector = (raw.sum(axis=1, dtype=np.int64) * 2 - _UNIFORMS * 65_535).astype(np.float32) / np.float32(131_072)
    vector.setflags(write=False)
    return vector


def hashed_tokens(
    units: Sequence[Sequence[str]], kind: str, tokens: int, dim: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """float32 [B, tokens, dim] of variance 1, zero in padding, and bool [B, tokens]. units: the words or characters of
    each caption; kind: sets words and characters apart. What is beyond `tokens` is cut.
    """
    features = np.zeros((len(units), tokens, dim), np.float32)
    mask = np.zeros((len(units), tokens), bool)
    for row, seen, sentence in zip(features, mask, units, strict=True):
        for place, unit in enumerate(sentence[:tokens]):
            row[place] = (vector_of(f"{kind} {unit}", dim) + vector_of(f"place {place}", dim)) * np.float32(_HALF_ROOT)
            seen[place] = True
    return torch.from_numpy(features), torch.from_numpy(mask)
