"""Optical flow by RAFT (Teed and Deng, ECCV 2020, arXiv 2003.12039), torchvision's networks, for the motion score.

Larger displacements and finer edges than Farneback's, at many times its price. The SVD paper (arXiv 2311.15127,
appendix E) measures the motion of its high-quality stage so, on pictures of 800x450.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipmill.curate.errors import UserError, one_line
from clipmill.curate.weights import load_state

WIDTH_PX, HEIGHT_PX = 800, 450
STRIDE_PX = 8
MIN_PADDED_PX = 128
NEAR_ENOUGH = 0.01
_PAIRS_AT_ONCE = 4
_FIRST_LAYER = "feature_encoder.convnormrelu.0.weight"


class Raft:
    """Flow of pairs of pictures. The network, raft_large or raft_small, is told from the shapes in the file."""

    def __init__(self, path: Path, device: str) -> None:
        """Raises UserError, one line, where the file is damaged or holds another network."""
        import torch

        self._device = torch.device(device)
        self._network = network_for(load_state(path), path).eval().requires_grad_(False).to(self._device)

    def __call__(self, pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
        """uint8 [H, W, 3] RGB, all of one size -> float32 [H, W, 2] (x, y) px from the first picture of each pair to
        the second.
        """
        import torch

        flows: list[np.ndarray] = []
        for at in range(0, len(pairs), _PAIRS_AT_ONCE):
            some = pairs[at : at + _PAIRS_AT_ONCE]
            with torch.inference_mode():
                flows += list(self._flow(*(np.stack([pair[i] for pair in some]) for i in (0, 1))))
        return flows

    def _flow(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        height, width = first.shape[1:3]
        flow = self._network(*(padded(frames).to(self._device) for frames in (first, second)))[-1]
        return flow[:, :, :height, :width].permute(0, 2, 3, 1).float().cpu().numpy()


def network_for(state: Mapping[str, Any], path: Path) -> Any:
    """A torchvision network with these weights. Raises UserError where neither size of RAFT fits."""
    from torchvision.models.optical_flow import raft_large, raft_small

    first = state.get(_FIRST_LAYER)
    network = (raft_small if first is not None and first.shape[0] == 32 else raft_large)(weights=None)
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"{path} does not hold RAFT's weights: {one_line(error, 120)}") from None
    return network


def padded(frames: np.ndarray) -> Any:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H', W'] in [-1, 1], edges repeated to the right and below up to what RAFT
    takes: sides of at least 128 px, divisible by 8.
    """
    import torch

    height, width = frames.shape[1:3]
    right, below = (max(-side % STRIDE_PX, MIN_PADDED_PX - side) for side in (width, height))
    pictures = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    return torch.nn.functional.pad(pictures, (0, right, 0, below), mode="replicate")


def sized(picture: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] at a short side of 450 px, or smaller where it would be more than the area of 800x450, to 1 %.
    Its aspect stays.
    """
    import cv2

    height, width = picture.shape[:2]
    scale = min(HEIGHT_PX / min(height, width), (WIDTH_PX * HEIGHT_PX / (height * width)) ** 0.5)
    if abs(scale - 1) < NEAR_ENOUGH:
        return picture
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))
