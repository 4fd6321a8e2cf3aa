"""Videos of some kilobytes and the settings of a run that takes a second or two."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

_OFF = ("text_area", "near_black", "sharpness", "blockiness", "flicker", "dup_frame_share", "dup_rank")
_SETTINGS = (
    "annotators=['borders','motion','phash']",
    "scenes.detector=cascade",
    "export.preset=ultrafast",
    "policy.motion.min=0.0",
    "policy.duration_s.min=0.5",
    *(f"policy.{name}=off" for name in _OFF),
)


def write_tiny(path: Path, seed: int = 0, n_frames: int = 40) -> Path:
    """Moving texture, 64x48, 25 frames a second. Folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texture = np.random.default_rng(seed).integers(0, 255, (48, 64 + 3 * n_frames, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(n_frames):
            picture = np.ascontiguousarray(texture[:, 3 * i : 3 * i + 64])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


def quick(*more: str) -> Sequence[str]:
    """Words of `curate run` for a run of such videos; every clip is kept."""
    return ["--workers", "1", *(word for text in (*_SETTINGS, *more) for word in ("--set", text))]
