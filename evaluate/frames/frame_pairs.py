"""Frames of a reconstruction beside those of its original, as torch takes them."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from clipmill.curate.errors import UserError

if TYPE_CHECKING:
    import torch

_BATCH_PX = 1024 * 1024


def frame_batches(
    real: np.ndarray, fake: np.ndarray, batch_px: int = _BATCH_PX
) -> "Iterator[tuple[torch.Tensor, torch.Tensor]]":
    """uint8 [T, H, W, 3] twice -> pairs of float32 [t, 3, H, W] in [0, 1], as many frames at a time as hold `batch_px`
    pixels, at least one.

    Raises UserError where the shapes differ or are no videos.
    """
    if real.shape != fake.shape or real.ndim != 4 or real.shape[3] != 3:
        raise UserError(f"videos of shape {list(real.shape)} and {list(fake.shape)} cannot be compared frame by frame")
    step = max(1, batch_px // (real.shape[1] * real.shape[2]))
    for at in range(0, len(real), step):
        yield _pictures(real[at : at + step]), _pictures(fake[at : at + step])


def _pictures(frames: np.ndarray) -> "torch.Tensor":
    import torch

    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255


def mean_similarity(measure: Callable[..., Any], real: np.ndarray, fake: np.ndarray) -> float:
    """Mean over frames of a similarity of torchmetrics; see `frame_batches`."""
    values = [
        np.atleast_1d(np.asarray(measure(b, a, data_range=1.0, reduction="none"))) for a, b in frame_batches(real, fake)
    ]
    return float(np.concatenate(values).mean())
