"""What a training measures on its own windows before the first step: components of pixels, and the scale of latents."""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from clipmill.models.autoencoders.base import VideoAutoencoder
from clipmill.models.autoencoders.statistics import fill_latent_statistics
from clipmill.models.pixels import as_floats
from clipmill.models.training.data.batch_plan import Draw
from clipmill.models.training.data.windows import Windows

_MEASURED_BYTES = 256 * 2**20


def fit_to(autoencoder: VideoAutoencoder, windows: Windows, least: int) -> None:
    """Principal components, where there are any, and the scale of latents: what pixels have in place of training.

    least: windows to measure; more where components are many.
    """
    videos = list(first_windows(windows, max(least, autoencoder.windows_to_measure(windows.buckets[0].grid))))
    autoencoder.measure(videos)
    fill_latent_statistics(autoencoder, videos)


def first_windows(windows: Windows, count: int) -> Iterator[torch.Tensor]:
    """About `count` windows, or as many as fit into 256 MiB, float [1, T, 3, H, W] in [-1, 1], evenly from all
    clips.
    """
    draws = [
        Draw(number, row, 0, 0)
        for number, bucket in enumerate(windows.buckets)
        for row in bucket.rows
        if not bucket.images
    ]
    largest = max(12 * math.prod(bucket.grid) for bucket in windows.buckets)
    wanted = max(1, min(count, _MEASURED_BYTES // largest))
    each = -(-wanted // len(draws))
    for draw in draws[:: max(1, len(draws) // wanted)]:
        for epoch in range(each):
            video = windows[replace(draw, epoch=epoch)].video
            if video is not None:
                yield as_floats(video[None])
