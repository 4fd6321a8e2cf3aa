"""How videos are read and which pictures of every clip are stored. Light: imported by the command line."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DecodeConfig:
    """decoder: pyav | decord | torchcodec."""

    decoder: str = "pyav"


@dataclass(frozen=True)
class FramesConfig:
    """The pictures stored for later annotators and the report: first, middle and last of every clip.

    fps: how many a second are candidates while decoding. short_side_px: their size, never enlarged. jpeg_quality: 1 to
    100.
    """

    fps: float = 2.0
    short_side_px: int = 360
    jpeg_quality: int = 90
