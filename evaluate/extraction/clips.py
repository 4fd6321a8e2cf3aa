"""Which clips of a set a protocol takes, and one of them decoded."""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from clipmill.curate.errors import DecodeError, UserError
from clipmill.evaluate.frames.protocol import Protocol
from clipmill.evaluate.frames.window import choose_frames, stored_times
from clipmill.evaluate.sets import Video


@dataclass(frozen=True)
class Clip:
    """One clip of a video: the `number`-th that the protocol takes of it."""

    video: Video
    number: int

    @property
    def key(self) -> str:
        """Of its content."""
        return f"{self.video.key}#{self.number}"

    @property
    def stored_as(self) -> str:
        """Its key in the store: of its content, and of what it is measured against."""
        return f"{self.key}|{self.video.beside}" if self.video.beside else self.key

    @property
    def clip_id(self) -> str:
        """Its name."""
        return self.video.video_id if self.number == 0 else f"{self.video.video_id}#{self.number}"


@dataclass(frozen=True)
class ClipFacts:
    """What the frames of a clip are. fps: of those taken, `frames` many; NaN where no rate is known. n_frames,
    length_s: of the whole video (NaN where no rate is known). repeated: of the frames taken, those equal to the one
    before. alpha: whether a transparency was left out.
    """

    height_px: int
    width_px: int
    fps: float = float("nan")
    frames: int = 0
    n_frames: int = 0
    length_s: float = float("nan")
    repeated: int = 0
    alpha: bool = False


def candidates(videos: Sequence[Video], protocol: Protocol) -> list[Clip]:
    """The clips of a set in the order in which the protocol takes them."""
    by_place = sorted(videos, key=lambda video: place(protocol, video.key))
    ordered = list(videos) if protocol.choose == "first" else by_place
    return [Clip(video, k) for k in range(protocol.clips_per_video) for video in ordered]


def place(protocol: Protocol, key: str) -> str:
    """Where a video comes in a random choice, by its content."""
    return hashlib.sha256(f"{protocol.seed}:{key}".encode()).hexdigest()


Pictures = tuple[np.ndarray, ClipFacts]
"""uint8 [T, H, W, 3] of a clip, and what it is."""
Problem = DecodeError | UserError | OSError


def decoded(clip: Clip, protocol: Protocol) -> Pictures:
    """Raises DecodeError where the clip is too short or does not decode."""
    with clip.video.open() as frames:
        times_s = stored_times(frames.times_s(), protocol)
        index = choose_frames(times_s, protocol, clip.video.key, clip.number)
        return _pictures(frames.read(index), times_s, index, protocol, bool(getattr(frames, "has_alpha", False)))


def decoded_together(parts: Sequence[tuple[Clip, Protocol]]) -> dict[Protocol, Pictures | Problem]:
    """One clip, with the frames that each of several protocols takes of it, from one reading of its video; where one of
    them cannot be had, each from its own. DecodeError, UserError and OSError are found, not raised.
    """
    protocols = {protocol: clip for clip, protocol in parts}
    if len(protocols) > 1:
        with suppress(DecodeError, UserError, OSError):
            return dict(_from_one_reading(next(iter(protocols.values())), list(protocols)))
    return {protocol: _or_problem(clip, protocol) for protocol, clip in protocols.items()}


def _or_problem(clip: Clip, protocol: Protocol) -> Pictures | Problem:
    try:
        return decoded(clip, protocol)
    except (DecodeError, UserError, OSError) as error:
        return error


def _from_one_reading(clip: Clip, protocols: Sequence[Protocol]) -> list[tuple[Protocol, Pictures]]:
    with clip.video.open() as frames:
        stored = frames.times_s()
        times = [stored_times(stored, protocol) for protocol in protocols]
        indices = [
            choose_frames(own, protocol, clip.video.key, clip.number)
            for own, protocol in zip(times, protocols, strict=True)
        ]
        union = np.unique(np.concatenate(indices))
        pixels = frames.read(union)
        alpha = bool(getattr(frames, "has_alpha", False))
    return [
        (protocol, _pictures(pixels[np.searchsorted(union, index)], own, index, protocol, alpha))
        for protocol, own, index in zip(protocols, times, indices, strict=True)
    ]


def _pictures(pixels: np.ndarray, times_s: np.ndarray, index: np.ndarray, protocol: Protocol, alpha: bool) -> Pictures:
    length_s = float(times_s[-1] - times_s[0] + np.median(np.diff(times_s))) if len(times_s) > 1 else float("nan")
    facts = ClipFacts(
        pixels.shape[1],
        pixels.shape[2],
        clip_fps(times_s[index], protocol),
        len(pixels),
        len(times_s),
        length_s,
        _repeated(pixels),
        alpha,
    )
    return pixels, facts


def read_clip(clip: Clip, protocol: Protocol) -> tuple[np.ndarray, float]:
    """(uint8 [T, H, W, 3], frames per second or NaN) of a clip. Raises DecodeError where it is too short or does not
    decode.
    """
    pixels, facts = decoded(clip, protocol)
    return pixels, facts.fps


def clip_fps(times_s: np.ndarray, protocol: Protocol) -> float:
    """Frames per second of the frames taken; NaN where no times are known."""
    if protocol.fps is not None:
        return protocol.fps / protocol.stride
    length_s = float(times_s[-1] - times_s[0])
    return (len(times_s) - 1) / length_s if length_s > 0 else float("nan")


def _repeated(pixels: np.ndarray) -> int:
    return sum(
        bool(np.array_equal(a[::8], b[::8]) and np.array_equal(a, b)) for a, b in zip(pixels[1:], pixels, strict=False)
    )
