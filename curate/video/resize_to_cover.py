"""Videos of any shape at one size: scaled until they cover it, cropped in the middle."""

import math
from typing import Any

import cv2
import numpy as np
import torch


def covered(video: torch.Tensor, height_px: int, width_px: int) -> torch.Tensor:
    """uint8 [T, 3, H, W] -> [T, 3, height_px, width_px]: scaled until it covers the size (by area where it shrinks, so
    without aliasing), cropped in the middle.
    """
    frames = video.permute(0, 2, 3, 1).numpy()
    scale = max(height_px / frames.shape[1], width_px / frames.shape[2])
    height, width = (
        max(side, math.ceil(scale * old - 1e-6))
        for side, old in zip((height_px, width_px), frames.shape[1:3], strict=True)
    )
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    top, left = (height - height_px) // 2, (width - width_px) // 2
    resized: list[Any] = [
        cv2.resize(np.ascontiguousarray(frame), (width, height), interpolation=method) for frame in frames
    ]
    stacked = np.stack(resized)[:, top : top + height_px, left : left + width_px]
    return torch.from_numpy(np.ascontiguousarray(stacked.transpose(0, 3, 1, 2)))
