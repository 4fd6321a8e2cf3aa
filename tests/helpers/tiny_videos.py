"""Videos of some kilobytes and the settings of a run that takes a second or two."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

from clipmill.curate.video.x264 import steady_x264

_OFF = ("text_area", "near_black", "sharpness", "blockiness", "flicker", "dup_frame_share", "dup_rank")
_SETTINGS = (
    "annotators=['borders','motion','phash']",
    "scenes.detector=cascade",
    "export.preset=ultrafast",
    "policy.motion.min=0.0",
    "policy.duration_s.min=0.5",
    *(f"policy.{name}=off" for name in _OFF),
)


def write_tiny(
    path: Path, seed: int = 0, n_frames: int = 40, size: tuple[int, int] = (64, 48), steps: Sequence[int] = (3,)
) -> Path:
    """Shots of moving texture, 25 frames a second. Folders are made.

    Args:
        path: of the file.
        seed: of the textures. Several shots have a colour each.
        n_frames: of each shot.
        size: width and height in pixels.
        steps: how far the texture of each shot moves to the left from frame to frame, in pixels.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rng, (width, height) = np.random.default_rng(seed), size
    with av.open(str(path), "w") as container:
        # The same bytes each time: which clips are held out depends on them.
        stream = container.add_stream("libx264", rate=25, options=steady_x264())
        stream.codec_context.thread_count = 1
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for step in steps:
            low, high = (0, 255) if len(steps) == 1 else (rng.integers(0, 155, 3), 100)
            texture = (low + rng.integers(0, high, (height, width + step * n_frames, 3))).astype(np.uint8)
            for i in range(n_frames):
                picture = np.ascontiguousarray(texture[:, step * i : step * i + width])
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


def write_folder(folder: Path) -> Path:
    """Ten videos of two shots of two seconds, with captions. Two are upright."""
    for number in range(10):
        size = (64, 96) if number < 2 else (96, 64)
        write_tiny(folder / f"{number}.mp4", number, 50, size, (1 + number % 3, 2 + number % 4))
        (folder / f"{number}.txt").write_text(f"a texture that moves, number {number}")
    return folder


def quick(*more: str) -> Sequence[str]:
    """Words of `curate run` for a run of such videos; every clip is kept."""
    return [word for text in (*_SETTINGS, *more) for word in ("--set", text)]
