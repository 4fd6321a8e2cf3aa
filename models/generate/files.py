"""Sampled videos as files: mp4s and a contact sheet."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from clipmill.curate.common.files import beside
from clipmill.curate.video.x264 import steady_x264

_SHEET_FRAMES = 8
_GAP_PX = 2
_MIN_CELL_PX = 64


def write_mp4(path: Path, video: torch.Tensor, fps: float, lossless: bool = False) -> None:
    """video: uint8 [T, 3, H, W] RGB. Near lossless H.264; odd sides lose nothing (yuv444p then). lossless: every bit
    comes back, for programs more than for browsers. The file gets its name when complete.
    """
    height, width = video.shape[2:]
    quality = {"qp": "0"} if lossless else {"crf": "8"}
    with beside(path, synced=True) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        options = quality | {"preset": "medium", "bf": "0"} | steady_x264()
        codec = "libx264rgb" if lossless else "libx264"
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = width, height
        whole_pixels = "yuv420p" if height % 2 == 0 and width % 2 == 0 else "yuv444p"
        stream.pix_fmt = "rgb24" if lossless else whole_pixels
        stream.codec_context.thread_count = 1
        for picture in video.permute(0, 2, 3, 1).numpy():
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_sheet(path: Path, videos: Sequence[torch.Tensor]) -> None:
    """videos: uint8 [T, 3, H, W] each. One row per video, frames evenly spread from first to last, enlarged where they
    are tiny. PNG.
    """
    rows = [_row(video) for video in videos]
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, _GAP_PX), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    picture = np.concatenate(padded)
    with beside(path) as temporary:
        temporary.write_bytes(cv2.imencode(".png", picture[:, :, ::-1])[1].tobytes())


def _row(video: torch.Tensor) -> np.ndarray:
    count = min(_SHEET_FRAMES, len(video))
    chosen = video[torch.linspace(0, len(video) - 1, count).round().long()].permute(0, 2, 3, 1).numpy()
    times = max(1, -(-_MIN_CELL_PX // chosen.shape[1]))
    large = chosen.repeat(times, axis=1).repeat(times, axis=2)
    return np.concatenate(
        [np.pad(frame, ((0, 0), (0, _GAP_PX), (0, 0)), constant_values=255) for frame in large], axis=1
    )
