"""Which frames of a video a protocol takes."""

import hashlib

import numpy as np

from clipmill.curate.errors import DecodeError, UserError
from clipmill.evaluate.frames.protocol import Protocol

_TINY_S = 1e-6


def rng_of(protocol: Protocol, key: str, clip: int) -> np.random.Generator:
    """Random numbers that depend on the protocol's seed, the video's content and the clip's number, and on nothing
    else.
    """
    words = np.frombuffer(hashlib.sha256(key.encode()).digest()[:16], "<u4")
    return np.random.default_rng([protocol.seed, clip, *(int(w) for w in words)])


def stored_times(times_s: np.ndarray, protocol: Protocol) -> np.ndarray:
    """float64 [N], s, of all frames: the storage's own, or those of the rate that the protocol declares."""
    return times_s if protocol.stored_fps is None else np.arange(len(times_s)) / protocol.stored_fps


def choose_frames(times_s: np.ndarray, protocol: Protocol, key: str, clip: int = 0) -> np.ndarray:
    """Indices int64 [clip_frames], increasing (repeated only where the video is slower than the protocol's fps).

    times_s: float64 [N] of all frames, NaN where no rate is known. Raises DecodeError where the video is too short,
    UserError where the protocol asks for a rate and the storage knows no times.
    """
    n, rng = len(times_s), rng_of(protocol, key, clip)
    if protocol.fps is None:
        span = (protocol.clip_frames - 1) * protocol.stride + 1
        start = _start(n, span, protocol, rng, clip, f"{n} frames, the protocol takes {span}")
        return start + protocol.stride * np.arange(protocol.clip_frames)
    if n and np.isnan(times_s).any():
        raise UserError(
            f"protocol {protocol.name} resamples to {protocol.fps:g} fps, but frame folders and arrays have no rate;"
            " declare it, for example --fake-set stored_fps=24"
        )
    grid = _grid(times_s, protocol.fps)
    span = (protocol.clip_frames - 1) * protocol.stride + 1
    problem = f"{len(grid)} frames at {protocol.fps:g} fps, the protocol takes {span}"
    start = _start(len(grid), span, protocol, rng, clip, problem)
    return grid[start : start + span : protocol.stride]


def _grid(times_s: np.ndarray, fps: float) -> np.ndarray:
    """For every k / fps while the video lasts, the frame on screen; the last frame lasts as long as the median one."""
    if len(times_s) == 0:
        return np.empty(0, np.int64)
    last_s = float(np.median(np.diff(times_s))) if len(times_s) > 1 else 0.0
    count = max(1, int((times_s[-1] - times_s[0] + last_s) * fps + _TINY_S))
    return np.searchsorted(times_s, times_s[0] + np.arange(count) / fps + _TINY_S, side="right") - 1


def _start(n: int, span: int, protocol: Protocol, rng: np.random.Generator, clip: int, problem: str) -> int:
    """Of a clip of `span` frames among `n`."""
    spare = n - span  # how many other places the clip could begin at
    if spare < 0:
        raise DecodeError(f"too short: {problem}")
    if protocol.clip_choice == "windows":
        if clip * span > spare:
            raise DecodeError(f"too short for {clip + 1} windows: {problem}")
        return clip * span
    if clip > spare:
        raise DecodeError(f"too short for {clip + 1} clips that differ: {problem}")
    if protocol.clip_choice == "random":
        return int(rng.integers(spare + 1))
    return 0 if protocol.clip_choice == "first" else spare // 2
