"""Several videos playing beside one another, as one picture that any browser shows."""

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clipmill.curate.errors import DecodeError

_VIDEOS, _FRAMES, _SIDE_PX, _GAP_PX, _FPS = 16, 32, 64, 2, 8


def moving_picture(folder: Path) -> str | None:
    """A data URL of an animated PNG: the first 16 mp4s of a folder by name, four in a row, up to 32 frames of each, at
    most 64 px high and wide. None where no video can be read.
    """
    videos = [video for path in sorted(folder.glob("*.mp4"))[:_VIDEOS] if (video := _small(path)) is not None]
    if not videos:
        return None
    return "data:image/png;base64," + base64.b64encode(_encoded(_tiled(videos))).decode()


def _small(path: Path) -> list[np.ndarray] | None:
    """uint8 [H, W, 3] each."""
    import av
    import cv2

    from clipmill.curate.video.open_av import open_av

    frames = []
    try:
        with open_av(path) as container:
            for frame in container.decode(video=0):
                picture = frame.to_ndarray(format="rgb24")
                share = min(1.0, _SIDE_PX / max(picture.shape[:2]))
                size = tuple(max(1, round(side * share)) for side in picture.shape[1::-1])
                frames.append(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
                if len(frames) == _FRAMES:
                    break
    except (DecodeError, av.error.FFmpegError, IndexError, OSError):
        return None
    return frames or None


def _tiled(videos: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Frame by frame; shorter videos keep their last one."""
    columns = min(4, len(videos))
    height = max(video[0].shape[0] for video in videos) + _GAP_PX
    width = max(video[0].shape[1] for video in videos) + _GAP_PX
    rows = math.ceil(len(videos) / columns)
    found = []
    for number in range(max(map(len, videos))):
        wall = np.zeros((rows * height, columns * width, 3), np.uint8)
        for place, video in enumerate(videos):
            picture = video[min(number, len(video) - 1)]
            top, left = place // columns * height, place % columns * width
            wall[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        found.append(wall)
    return found


def _encoded(frames: Sequence[np.ndarray]) -> bytes:
    """An animated PNG that plays without end."""
    import av

    data = io.BytesIO()
    with av.open(data, "w", format="apng", options={"plays": "0"}) as container:
        stream = container.add_stream("apng", rate=_FPS)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "rgb24"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return data.getvalue()
