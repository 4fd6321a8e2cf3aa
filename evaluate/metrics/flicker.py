"""Temporal flickering in VBench's definition: how little neighbouring frames differ."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np

from clipmill.evaluate.metrics import VideoMetric


@dataclass(frozen=True)
class Flicker(VideoMetric):
    """(255 - mean |f_t - f_t+1|) / 255 over pixels, channels and pairs of frames, 0 to 1 (VBench, Huang et al. 2024,
    arXiv 2311.17982).

    Motion counts as flicker: a still picture scores 1. VBench therefore measures it on prompts of static scenes only;
    elsewhere compare with the real set's value, or take `curate`'s flicker, which counts brightness swings alone.
    """

    title: ClassVar[str] = "temporal flickering (VBench; 1: neighbouring frames are equal)"
    higher_is_better: ClassVar[bool | None] = True

    def __call__(self, video: np.ndarray, fps: float) -> float:
        """uint8 [T, H, W, 3] -> value; NaN for one frame."""
        if len(video) < 2:
            return float("nan")
        return float(1 - np.mean([_mean_difference(a, b) for a, b in pairwise(video)]) / 255)


def _mean_difference(a: np.ndarray, b: np.ndarray) -> float:
    import cv2

    return float(cv2.absdiff(np.ascontiguousarray(a), np.ascontiguousarray(b)).mean())
