"""A reconstruction beside its original, frame by frame."""

from dataclasses import dataclass

import numpy as np

from clipmill.evaluate.frames.frame_pairs import frame_batches

ROWS = 3


def per_frame(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """uint8 [T, H, W, 3] twice -> float64 [3, T]: mean squared error, levels of 255 squared; SSIM (Gaussian window 11,
    sigma 1.5, see `clipmill.evaluate.metrics.ssim`); flicker added, levels: how much more a frame differs from the one
    before than the original does, 0 for the first. Raises UserError where the shapes differ.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    errors, similar = [], []
    for a, b in frame_batches(real, fake):
        errors.append(255**2 * ((a - b).double() ** 2).mean((1, 2, 3)).numpy())
        similar.append(np.atleast_1d(np.asarray(ssim(b, a, data_range=1.0, reduction="none"))))
    changes = [np.abs(np.diff(v.astype(np.int16), axis=0)).mean((1, 2, 3)) for v in (real, fake)]
    return np.stack([np.concatenate(errors), np.concatenate(similar), np.append(0.0, changes[1] - changes[0])])


@dataclass(frozen=True)
class Positions:
    """Of each frame position, over clips: psnr, dB, of the mean squared error; ssim; flicker, levels, of the first
    frame 0. worst: the position whose error is largest.
    """

    psnr: np.ndarray
    ssim: np.ndarray
    flicker: np.ndarray

    @property
    def worst(self) -> int:
        """See the class."""
        return int(np.argmin(self.psnr))


def positions(clips: np.ndarray) -> Positions:
    """Of float [N, 3 T], what `per_frame` says of N clips."""
    errors, similar, flicker = clips.reshape(len(clips), ROWS, -1).astype(np.float64).mean(axis=0)
    with np.errstate(divide="ignore"):
        return Positions(20 * np.log10(255) - 10 * np.log10(errors), similar, flicker)


def psnr_of(psnr: np.ndarray) -> float:
    """dB of the mean squared error over positions, of their dB."""
    with np.errstate(divide="ignore"):
        return float(-10 * np.log10(np.mean(10 ** (-psnr / 10))))
