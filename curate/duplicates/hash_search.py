"""Which clips have pictures whose perceptual hashes are near, among clips of about the same length: exact, by counting
bits in windows of durations.

Multi-index hashing (Norouzi et al., CVPR 2012) does not pay at a radius of 14 of 64 bits: its buckets meet 4 % of all
clips in every role, a window of durations 8 % by a scan that is far cheaper.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_SLACK = 1 + 1e-9  # whether a pair is out of reach, whoever verifies it says exactly


@dataclass(frozen=True)
class Hashes:
    """Perceptual hashes of N clips.

    bits: uint64 [R, N], one of each role. known: bool [R, N], False where there is none. duration_s: float64 [N], NaN
    where unknown: such a clip is in anybody's reach.
    """

    bits: np.ndarray
    known: np.ndarray
    duration_s: np.ndarray

    def distances(self, i: int, j: int) -> np.ndarray:
        """uint8 [r], Hamming distance of the roles that both clips have."""
        both = self.known[:, i] & self.known[:, j]
        return bit_count(self.bits[both, i] ^ self.bits[both, j])

    def near(self, radius_bits: int, ratio: float, clips: np.ndarray, free: np.ndarray) -> Iterator[np.ndarray]:
        """See `groups.Near`: the clips of which one role lies within `radius_bits`, 0 to 64, and whose length is at
        least `ratio` of the other's, in increasing order.
        """
        windows = [_Windows.of(self, role, free) for role in range(len(self.bits))]
        for clip in clips.tolist():
            found = [
                window.near(self.bits[role, clip], float(self.duration_s[clip]), radius_bits, ratio)
                for role, window in enumerate(windows)
                if self.known[role, clip]
            ]
            yield np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)


def hashes_of(columns: Sequence[Sequence[object]], duration_s: np.ndarray) -> Hashes:
    """columns: of each role the N hashes, 16 hex digits or null; an empty one where nobody made that role."""
    bits = np.zeros((len(columns), len(duration_s)), np.uint64)
    known = np.zeros(bits.shape, bool)
    for role, column in enumerate(columns):
        places = [i for i, text in enumerate(column) if isinstance(text, str)]
        bits[role, places] = [int(str(column[i]), 16) for i in places]
        known[role, places] = True
    return Hashes(bits, known, duration_s)


@dataclass(frozen=True)
class _Windows:
    """The free clips that have a hash in one role, by their length: positions int64 [n], seconds float64 [n] with NaN
    at the end, bits uint64 [n]. n_known: how many lengths are known.
    """

    places: np.ndarray
    seconds: np.ndarray
    bits: np.ndarray
    n_known: int

    @classmethod
    def of(cls, hashes: Hashes, role: int, free: np.ndarray) -> "_Windows":
        places = np.flatnonzero(hashes.known[role, : len(free)] & free)
        places = places[np.argsort(hashes.duration_s[places], kind="stable")]
        seconds = hashes.duration_s[places]
        return cls(places, seconds, hashes.bits[role, places], int((~np.isnan(seconds)).sum()))

    def near(self, bits: np.uint64, seconds: float, radius_bits: int, ratio: float) -> np.ndarray:
        hits = [
            np.flatnonzero(bit_count(self.bits[a:b] ^ bits) <= radius_bits) + a for a, b in self._reach(seconds, ratio)
        ]
        return self.places[np.concatenate(hits)]

    def _reach(self, seconds: float, ratio: float) -> list[tuple[int, int]]:
        if np.isnan(seconds):
            return [(0, len(self.places))]
        longest = seconds * _SLACK / ratio if ratio > 0 else np.inf
        first = np.searchsorted(self.seconds[: self.n_known], ratio * seconds / _SLACK)
        last = np.searchsorted(self.seconds[: self.n_known], longest, side="right")
        return [(int(first), int(last)), (self.n_known, len(self.places))]


def bit_count(values: np.ndarray) -> np.ndarray:
    """uint64 [n] -> uint8 [n], how many bits are set."""
    if hasattr(np, "bitwise_count"):  # numpy 2
        return np.bitwise_count(values)
    halves = np.ascontiguousarray(values).view(np.uint16).reshape(len(values), 4)
    return _COUNTS[halves].sum(axis=1, dtype=np.uint8)


_COUNTS = np.unpackbits(np.arange(1 << 16, dtype=np.uint16).view(np.uint8).reshape(-1, 2), axis=1).sum(1, np.uint8)
