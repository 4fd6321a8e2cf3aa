"""A protocol: everything that decides an FVD besides the videos, as data, with a name and a version."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from clipmill.curate.common.package_files import file_names, read_file
from clipmill.curate.common.settings import build
from clipmill.curate.errors import UserError

Resize = Literal["tf1-bilinear", "bilinear", "bilinear-antialias", "none"]
Geometry = Literal["stretch", "short-side-crop"]
_FOLDER = "clipmill.evaluate.protocols"
# What may be another for the real than for the fake set: how its videos are stored.
OF_ONE_SET = ("stride", "fps", "stored_fps")


@dataclass(frozen=True)
class Protocol:
    """Which frames of which clips, how they become the network's input, and how two sets of features become a number.

    Clips. clip_frames: frames per clip. stride: every stride-th frame. fps: frames are first resampled to this rate by
    their times; None: as they are stored. stored_fps: the rate at which the frames were stored, whatever a file says;
    None: a file's own times, and no rate of frame folders and arrays. clip_choice: where in a video the clip begins:
    first, middle, random (seeded by the video's content), or windows: one clip after another from the first frame on.
    clips_per_video: for `random` and `windows`; more than 1 with another choice would take the same clip again. n_real,
    n_fake: clips asked for, 0: all. choose: which videos where there are more: first in natural order, or random
    (seeded). missing: what happens where there are fewer: as-is, or repeat (duplicates rows, as cd-fvd does). seed: of
    every random choice.

    Pictures. loader_side_px: where a data loader scales first: short side to this size with antialiasing, centre crop,
    rounded to uint8; None: no such step. resize: algorithm to the network's size: tf1-bilinear (legacy, no half-pixel
    centres), bilinear (half-pixel centres, no antialiasing), bilinear-antialias, none (videos must have the size).
    geometry: stretch to the square, or short side to it and centre crop. uint8_after_resize: rounded (truncated) to 8
    bits after it.

    Number. features: the network's name. bn_eps: batch-norm epsilon of I3D (1e-3 in the original graph). input_range:
    pixels reach I3D as -input_range to input_range (1 in the original graph). ddof: of covariances, 1 or 0. dtype: of
    moments and distance, float64 or float32.

    name: of the preset, with a + where fields were changed. version: of the preset, written into every result. summary:
    what it does, one line. source: the code or paper that it follows.
    """

    name: str
    version: int
    summary: str = ""
    source: str = ""
    clip_frames: int = 16
    stride: int = 1
    fps: float | None = None
    stored_fps: float | None = None
    clip_choice: Literal["first", "middle", "random", "windows"] = "first"
    clips_per_video: int = 1
    n_real: int = 2048
    n_fake: int = 2048
    choose: Literal["first", "random"] = "random"
    missing: Literal["as-is", "repeat"] = "as-is"
    seed: int = 0
    loader_side_px: int | None = None
    resize: Resize = "bilinear-antialias"
    geometry: Geometry = "stretch"
    uint8_after_resize: bool = False
    features: str = "i3d"
    bn_eps: float = 1e-3
    input_range: float = 1.0
    ddof: int = 1
    dtype: Literal["float64", "float32"] = "float64"

    def __post_init__(self) -> None:
        """Raises ValueError for counts below 1, rates that are none, and several equal clips a video."""
        for name in ("clip_frames", "stride", "clips_per_video"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, not {getattr(self, name)}")
        for name in ("fps", "stored_fps"):
            rate = getattr(self, name)
            if rate is not None and not 0 < rate < float("inf"):
                raise ValueError(f"{name} is a number of frames per second above 0, not {rate}")
        if self.clips_per_video > 1 and self.clip_choice not in ("random", "windows"):
            raise ValueError(
                f"clips_per_video={self.clips_per_video} would take the same clip {self.clips_per_video} times with"
                f" clip_choice={self.clip_choice}: set clip_choice=random, or windows"
            )

    @property
    def network_options(self) -> dict[str, Any]:
        """What the protocol fixes of the network itself."""
        return {"bn_eps": self.bn_eps, "input_range": self.input_range} if self.features.startswith("i3d") else {}

    def feature_fields(self) -> dict[str, Any]:
        """The fields that decide the features of one clip; the others only decide which clips and what is made of
        them.
        """
        clip, pictures = (
            ("clip_frames", "stride", "fps"),
            ("loader_side_px", "resize", "geometry", "uint8_after_resize"),
        )
        found = {name: getattr(self, name) for name in (*clip, *pictures, "features", "bn_eps", "input_range")}
        return found | self.declared

    @property
    def declared(self) -> dict[str, Any]:
        """The declared rate, as a fact of its own; empty where none is declared, so that older facts stay what they
        were.
        """
        return {} if self.stored_fps is None else {"stored_fps": self.stored_fps}


def names() -> list[str]:
    """Every protocol of this folder."""
    return file_names(_FOLDER, ".toml")


def load(name: str, changes: Mapping[str, Any] | None = None) -> Protocol:
    """The protocol in `evaluate/protocols/<name>.toml`. With some fields changed its name gets a +. Raises
    UserError.
    """
    if name not in names():
        raise UserError(f"no protocol called {name!r}; there are: {', '.join(names())}")
    data = tomllib.loads(read_file(_FOLDER, f"{name}.toml"))
    protocol = build(Protocol, data | {"name": name}, f"protocol {name}")
    changed = build(Protocol, asdict(protocol) | dict(changes or {}), f"protocol {name}")
    return protocol if changed == protocol else replace(changed, name=f"{name}+")


def changed(protocol: Protocol, changes: Mapping[str, Any], option: str) -> Protocol:
    """The protocol as it holds for one of the two sets. option: that the changes were given by. Raises UserError for
    what is no field of OF_ONE_SET, or no value of it.
    """
    for name in changes:
        if name not in OF_ONE_SET:
            raise UserError(f"{option} takes {', '.join(OF_ONE_SET)}, not {name}; --set changes it for both sets")
    return build(Protocol, asdict(protocol) | dict(changes), option) if changes else protocol
