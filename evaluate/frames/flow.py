"""Optical flow between frames at their own pace, for metrics on motion: Farneback, and pictures pulled along it."""

import numpy as np

MIN_SIDE_PX = 8


def scaled(video: np.ndarray, short_side_px: int) -> np.ndarray:
    """uint8 [T, H, W, 3] with the short side at `short_side_px` by area means; smaller videos as they are."""
    import cv2

    height, width = video.shape[1:3]
    scale = short_side_px / min(height, width)
    if scale >= 1:
        return video
    size = (round(width * scale), round(height * scale))
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in video])


def luma(frame: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] RGB -> uint8 [H, W]."""
    import cv2

    return np.asarray(cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY))


def pulled(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """[H, W] or [H, W, C] taken at p + flow(p), bilinear, borders repeated. flow: float32 [H, W, 2], px (x, y)."""
    import cv2

    height, width = flow.shape[:2]
    x = np.arange(width, dtype=np.float32) + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    return np.asarray(cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
