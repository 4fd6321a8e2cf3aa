"""Known numbers, to be computed again on this machine with these libraries."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Case:
    """found and expected: the number. tolerance: relative."""

    name: str
    found: float
    expected: float
    tolerance: float


# First logits of DeepMind's original TensorFlow graph with seeded variables, for RandomState(1).rand(2, T, 224, 224, 3)
# * 2 - 1.
_SEEDED_LOGITS = {9: (-5.217454, -4.256279, -1.449028), 16: (-7.073725, -6.040166, 0.37259045)}


def cases(weights: Path | None) -> Iterator[Case]:
    """Every known number that can be computed here; with weights of I3D also those that their authors published."""
    yield from _metric_layer()
    yield from _seeded_network()
    if weights is not None:
        yield from _published(weights)


def _metric_layer() -> Iterator[Case]:
    """Against tfgan's and torchmetrics' own code, run on the same features."""
    from clipmill.evaluate.distances.frechet import frechet_distance
    from clipmill.evaluate.distances.mmd import polynomial_mmd

    x = np.random.RandomState(0).standard_normal((512, 400)).astype(np.float32)
    y = (np.random.RandomState(1).standard_normal((512, 400)) * 1.2 + 0.1).astype(np.float32)
    yield Case("Fréchet distance, 512 x 400", frechet_distance(x, y), 210.8427998686634, 1e-9)
    yield Case("Fréchet distance, ddof 0", frechet_distance(x, y, ddof=0), 210.442849349802, 1e-9)
    yield Case(
        "Fréchet distance, fewer clips than dimensions", frechet_distance(x[:64], y[:64]), 670.6931838479292, 1e-9
    )
    yield Case("unbiased MMD^2, cubic kernel", polynomial_mmd(x, y), 0.033523362605989, 1e-9)


def _seeded_network() -> Iterator[Case]:
    import torch

    from clipmill.evaluate.features.i3d_random import I3DRandom

    network = I3DRandom(device="cpu")
    for frames, expected in _SEEDED_LOGITS.items():
        videos = np.random.RandomState(1).rand(2, frames, 224, 224, 3).astype(np.float32) * 2 - 1
        with torch.inference_mode():
            logits = network(torch.from_numpy(videos[:1]).permute(0, 1, 4, 2, 3))[0].numpy()
        for k, value in enumerate(expected):
            yield Case(f"I3D with seeded weights, {frames} frames, logit {k}", float(logits[k]), value, 1e-5)


def _published(weights: Path) -> Iterator[Case]:
    """Eight black against eight white videos of 30 frames: identical clips, so the covariances vanish and the network
    alone is tested.
    """
    from clipmill.evaluate import fvd

    videos = np.zeros((8, 30, 64, 64, 3), np.uint8)
    changes = {"clip_frames": 30, "n_real": 0, "n_fake": 0}
    row = fvd(videos, videos + np.uint8(255), protocol="original", weights=weights, sets=changes)
    yield Case("black against white (common_metrics_on_video_quality, TensorFlow 1.15)", row.value, 151.39244, 1e-3)
