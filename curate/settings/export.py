"""How kept clips are written. Light: imported by the command line."""

from collections.abc import Mapping
from dataclasses import dataclass, field

SPLITS = ("train", "val", "test")
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")


@dataclass(frozen=True)
class ExportConfig:
    """Normalised clips, or a stream copy, packed into WebDataset tars.

    short_side_px: the shorter side of a clip in px, reached by shrinking or enlarging; none or 0 keeps the source size.
    fps: frames per second of every clip; none or 0 keeps each clip's own rate, rounded to the nearest common one.
    copy: cut the source's packets at keyframes instead of encoding: no crop, no new size or rate, rotation stays a tag.
    crf: x264's constant quality, 0 (lossless) to 51; 18 is close to transparent. preset: x264's speed.
    multiple: width and height are multiples of this, even; 8 or 16 suits models that patch the picture.
    shard_clips, shard_bytes: a tar is closed when it holds this many clips, or would grow over this many bytes.
    split: share of the source videos in train, val and test; sums to 1. Clips of one video, and duplicates, stay
    together.
    """

    short_side_px: int | None = 256
    fps: float | None = 24.0
    copy: bool = False
    crf: int = 18
    preset: str = "veryfast"
    multiple: int = 2
    shard_clips: int = 1000
    shard_bytes: int = 512 * 2**20
    split: Mapping[str, float] = field(default_factory=lambda: {"train": 0.9, "val": 0.1})

    def __post_init__(self) -> None:
        """Raises ValueError, one line, for a value that cannot work."""
        problems = (
            (self.short_side_px and not 2 <= self.short_side_px <= 4320, "short_side_px is 2 to 4320, or none"),
            (self.fps and not 0.1 <= self.fps <= 240, "fps is 0.1 to 240, or none"),
            (not 0 <= self.crf <= 51, "crf is 0 to 51"),
            (self.preset not in PRESETS, f"preset is one of {', '.join(PRESETS)}"),
            (self.multiple < 2 or self.multiple % 2, "multiple is even and at least 2: yuv420p has no odd sizes"),
            (self.shard_clips < 1 or self.shard_bytes < 1, "shard_clips and shard_bytes are at least 1"),
        )
        for wrong, message in problems:
            if wrong:
                raise ValueError(message)
        check_split(self.split)


def check_split(split: Mapping[str, float]) -> None:
    """Raises ValueError unless the names are known, no share is negative, and the shares sum to 1."""
    unknown = sorted(set(split) - set(SPLITS))
    if unknown:
        raise ValueError(f"unknown split {unknown[0]!r}; there are: {', '.join(SPLITS)}")
    if any(not isinstance(s, (int, float)) or s < 0 for s in split.values()) or abs(sum(split.values()) - 1) > 1e-6:
        raise ValueError(f"the shares of split are positive and sum to 1, not {dict(split)}")
