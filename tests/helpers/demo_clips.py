"""Short clips of the demo's world as arrays, without video files."""

import cv2
import numpy as np

from clipmill.curate.demo.plan import LAWS, ShotPlan
from clipmill.curate.demo.shot import build_scene


def demo_clips(
    count: int, seed: int, frames: int = 16, picture: tuple[int, int] = (160, 96), fps: float = 12.0
) -> list[np.ndarray]:
    """uint8 [T, H, W, 3] each, all laws alike often."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(seed)
    clips = []
    for i in range(count):
        plan = ShotPlan((1000 + seed, i, 7), LAWS[i % len(LAWS)], 2.6, float(rng.uniform(0, 360)), i % 2 == 0, picture)
        scene = build_scene(plan)
        clips.append(np.stack([scene.render(0.1 + t / fps) for t in range(frames)]))
    cv2.setNumThreads(threads)
    return clips


def network_input(clips, side_px: int):
    """Stretched to the square: float32 [B, T, 3, side, side] in [-1, 1]."""
    import torch

    small = np.stack([[cv2.resize(f, (side_px, side_px), interpolation=cv2.INTER_AREA) for f in c] for c in clips])
    return torch.from_numpy(small).movedim(-1, 2).float() / 127.5 - 1
