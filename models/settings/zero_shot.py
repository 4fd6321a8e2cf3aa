"""What sampling changes of a trained network, without training: `sample.free_u` and `sample.zero_shot`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

_MOST = 1_000_000
# Fewer could not lie between two key frames.
_SHORTEST_CLIP = 3


@dataclass(frozen=True)
class FreeUConfig:
    """FreeU (Si et al. 2023, 2309.11497), for a U-Net: one number for each of its levels on the way up, the coarsest
    first; levels without one stay as they are. Stable Video Diffusion's relatives take backbone 1.2 to 1.6, skips 0.9
    and 0.2.

    backbone: multiplies the first half of the channels of what comes from below. skips: multiplies the low frequencies
    of what skips. threshold: up to which frequency these go, at least 1; 2 threshold x 2 threshold of each picture's
    coefficients.
    """

    backbone: tuple[float, ...] = ()
    skips: tuple[float, ...] = ()
    threshold: int = 1

    def __post_init__(self) -> None:
        """Raises ValueError, one line, for a value that cannot work."""
        if not all(abs(factor) <= _MOST for factor in (*self.backbone, *self.skips)):
            raise ValueError(f"backbone and skips are finite numbers, at most {_MOST:,}")
        if not 1 <= self.threshold <= _MOST:
            raise ValueError("threshold is at least 1")


@dataclass(frozen=True)
class ZeroShotConfig:
    """Videos from an image model that saw none (Text2Video-Zero, 2303.13439; ControlVideo, 2305.13077).

    attention: what attention within frames looks at instead; trained, as it was trained; first, the pixels of the first
    frame (Text2Video-Zero); full, those of all frames (ControlVideo); previous, of the first and the one before. clip:
    frames that are attended to at once, with attention=full; of longer videos every (clip - 1)-th frame is made with
    the other such frames, and those between see these two alone (ControlVideo); 0 for all at once.

    motion: px to the right and px down by which every frame is moved on from the one before, none for frames of their
    own; the picture itself is moved, at `motion_times[0]` on its way from noise, after which all frames go on from
    `motion_times[1]`. motion_times: shares of the steps that are still to go, the first at most as large as the second.
    motion_forward: how the moved ones come from the first time to the second; ddpm, by noise of their own (the released
    code); ddim, by DDIM inversion (the paper's words). background: share, 0 to 1, of the moved first frame where
    neither it nor a frame's own picture is salient, which needs a second pass; 0 for none.

    shared_noise: all frames begin at the same noise. smooth: the share of steps still to go at which every second frame
    is replaced by the mean of its neighbours, and a step later every other one; 0 for never.
    """

    attention: Literal["trained", "first", "full", "previous"] = "trained"
    clip: int = 0
    motion: tuple[float, float] | None = None
    motion_times: tuple[float, float] = (0.881, 0.941)
    motion_forward: Literal["ddpm", "ddim"] = "ddpm"
    background: float = 0.0
    shared_noise: bool = False
    smooth: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError, one line, for a value that cannot work."""
        motion = (0.0, 0.0) if self.motion is None else self.motion
        problems = (
            (
                self.clip and (self.attention != "full" or not _SHORTEST_CLIP <= self.clip <= _MOST),
                f"clip is at least {_SHORTEST_CLIP} frames, with attention=full, or 0",
            ),
            (
                len(motion) != 2 or not max(map(abs, motion)) <= _MOST,
                "motion is two numbers, px to the right and px down, or none",
            ),
            (
                len(self.motion_times) != 2 or not 0 < self.motion_times[0] <= self.motion_times[1] <= 1,
                "motion_times are two shares over 0 and up to 1, the smaller one first",
            ),
            (
                not (0 <= self.background <= 1 and 0 <= self.smooth <= 1),
                "background and smooth are shares from 0, for none, to 1",
            ),
            (self.background and self.motion is None, "background is of moved frames: set motion"),
        )
        for wrong, message in problems:
            if wrong:
                raise ValueError(message)


def changed(group: Any) -> Mapping[str, Any]:
    """Of a dataclass of settings, those that are not as they are by default, plain values."""
    found = {f.name: getattr(group, f.name) for f in fields(group)}
    return {f.name: found[f.name] for f in fields(group) if found[f.name] != f.default}
