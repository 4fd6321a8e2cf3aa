"""Videos of moving texture, as arrays and as files."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np


def moving(n: int, seed: int, frames: int = 16, side: int = 64) -> np.ndarray:
    """uint8 [n, T, side, side, 3]: textures that drift at their own speed."""
    rng = np.random.default_rng(seed)
    out = np.empty((n, frames, side, side, 3), np.uint8)
    for i in range(n):
        big = np.kron(rng.integers(0, 256, (side // 4, side // 4, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        dx, dy = rng.integers(-4, 5, 2)
        for t in range(frames):
            out[i, t] = np.roll(big, (dy * t, dx * t), (0, 1))[:side, :side]
    return out


def noisy(videos: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    """With Gaussian noise of `sigma` levels."""
    noise = np.random.default_rng(seed).normal(0, sigma, videos.shape)
    return np.clip(videos + noise, 0, 255).astype(np.uint8)


def write_file(path: Path, video: np.ndarray, fps: int = 25, codec: str = "libx264rgb") -> Path:
    """A video file of uint8 [T, H, W, 3] without loss; the codec libx264 for plain 4:2:0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rgb = codec == "libx264rgb"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options={"crf": "0"} if rgb else {})
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = "rgb24" if rgb else "yuv420p"
        stream.codec_context.time_base = Fraction(1, fps)
        for k, picture in enumerate(video):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_files(folder: Path, videos: np.ndarray, fps: int = 25, suffix: str = "mp4") -> Path:
    """v0.mp4, v1.mp4, ..."""
    for k, video in enumerate(videos):
        write_file(folder / f"v{k}.{suffix}", video, fps)
    return folder


def write_frames(folder: Path, videos: np.ndarray) -> Path:
    """v0/0000.png, ..., v1/0000.png, ..."""
    for k, video in enumerate(videos):
        (folder / f"v{k}").mkdir(parents=True)
        for t, picture in enumerate(video):
            cv2.imwrite(str(folder / f"v{k}" / f"{t:04d}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return folder
