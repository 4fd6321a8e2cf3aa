"""CRC32C (Castagnoli, RFC 3720 appendix B.4), fast enough for weight files, in numpy."""

from functools import lru_cache

import numpy as np

_POLYNOMIAL = 0x82F63B78  # reflected
_ALL_ONES = 0xFFFFFFFF
_MASK_DELTA = 0xA282EAD8


def crc32c(data: bytes | memoryview | np.ndarray) -> int:
    """CRC32C of a contiguous buffer's bytes, 0 to 2**32 - 1.

    The register is linear in data and start value, so neighbours are joined pairwise: register(A B) = register(A) after
    len(B) zero bytes, xor register(B). Every round halves the number of registers; leading zero bytes change nothing.
    """
    raw = np.frombuffer(data, np.uint8)
    n_words = 1 << max(0, (-(-len(raw) // 4) - 1).bit_length())
    padded = np.zeros(4 * n_words, np.uint8)
    padded[len(padded) - len(raw) :] = raw
    registers, power = padded.view("<u4"), 2
    while len(registers) > 1:
        registers = _after_zeros(registers[0::2], power) ^ registers[1::2]
        power += 1
    return int(_after_zeros(registers, 2)[0] ^ _start_after(len(raw))) ^ _ALL_ONES


def masked(crc: int) -> int:
    """The form in which TensorFlow and LevelDB store a CRC beside the data that it covers."""
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & _ALL_ONES


def _start_after(length: int) -> np.uint32:
    """The start value, all ones, after `length` zero bytes."""
    register = np.array([_ALL_ONES], np.uint32)
    for power in range(length.bit_length()):
        if length >> power & 1:
            register = _after_zeros(register, power)
    return np.uint32(register[0])


def _after_zeros(registers: np.ndarray, power: int) -> np.ndarray:
    """uint32 [N] -> uint32 [N], after 2**power zero bytes each."""
    low, high = _tables(power)
    return low[registers & 0xFFFF] ^ high[registers >> 16]


@lru_cache(maxsize=64)
def _tables(power: int) -> tuple[np.ndarray, np.ndarray]:
    """What 2**power zero bytes make of the lower and of the upper half of a register: uint32 [65536] each."""
    images = _images(power)
    return _span(images[:16]), _span(images[16:])


def _images(power: int) -> np.ndarray:
    """uint32 [32]: what 2**power zero bytes make of each single bit."""
    if power > 0:
        return _after_zeros(_after_zeros(np.uint32(1) << np.arange(32, dtype=np.uint32), power - 1), power - 1)
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    for _ in range(8):
        bits = np.where(bits & 1, (bits >> 1) ^ np.uint32(_POLYNOMIAL), bits >> 1).astype(np.uint32)
    return bits


def _span(images: np.ndarray) -> np.ndarray:
    """uint32 [65536]: the xor of the images of every number's bits."""
    table = np.zeros(1, np.uint32)
    for image in images:
        table = np.concatenate([table, table ^ image])
    return table
