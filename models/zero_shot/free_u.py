"""FreeU (Si et al. 2023, 2309.11497): more of what a U-Net's decoder makes, less of its skips."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.backbones.unet import UNet
from clipmill.models.settings.zero_shot import FreeUConfig


@contextmanager
def with_free_u(backbone: nn.Module, config: FreeUConfig) -> Iterator[None]:
    """While it lasts, each layer on the way up of the levels that `config` has numbers for reads x times `backbone` in
    the first half of its channels, and the skip with its low frequencies times `skips`, frame by frame.
    """
    if not isinstance(backbone, UNet):
        yield
        return
    per_level = backbone.config.depth + 1
    widths = [backbone.config.width * multiplier for multiplier in reversed(backbone.config.multipliers)]
    with ExitStack() as stack:
        for level, factors in enumerate(zip_longest(config.backbone, config.skips, fillvalue=1.0)):
            for index in range(level * per_level, (level + 1) * per_level):
                channels = widths[level] if index % per_level else widths[max(0, level - 1)]
                hook = partial(_read, channels=channels, factors=factors, threshold=config.threshold)
                stack.enter_context(_hooked(backbone.up[index], hook))
        yield


def check_free_u(backbone: nn.Module, config: FreeUConfig) -> None:
    """Raises UserError for another network than a U-Net, and for more numbers than it has levels."""
    asked = max(len(config.backbone), len(config.skips))
    if not asked:
        return
    if not isinstance(backbone, UNet):
        raise UserError("sample.free_u is about the skips of a U-Net, which this model is not: leave it out")
    levels = len(backbone.config.multipliers)
    if asked > levels:
        raise UserError(f"sample.free_u has {asked} numbers, and this U-Net {levels} levels: give {levels} at most")


def low_frequencies_times(x: torch.Tensor, factor: float, threshold: int) -> torch.Tensor:
    """float [..., H, W] -> the same, its coefficients of frequency -threshold to threshold - 1 along both sides times
    `factor`, and the real part of that (the released code). In single precision at least, back in x's dtype; a factor
    of 1 changes no bit.
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    kept = [torch.fft.fftfreq(side, 1 / side, device=x.device) for side in x.shape[-2:]]
    inside = [(frequency >= -threshold) & (frequency < threshold) for frequency in kept]
    low = torch.fft.fft2(wide) * (inside[0][:, None] & inside[1])
    return (wide + (factor - 1) * torch.fft.ifft2(low).real).to(x.dtype)


def _read(
    layer: nn.Module, given: tuple[Any, ...], channels: int, factors: tuple[float, float], threshold: int
) -> tuple[Any, ...]:
    """What the layer gets instead: x and the skip are one tensor, [B, T, channels + those of the skip, H, W]."""
    read, half = given[0].clone(), channels // 2  # a copy keeps its order in memory
    read[:, :, :half] *= factors[0]
    read[:, :, channels:] = low_frequencies_times(read[:, :, channels:], factors[1], threshold)
    return read, *given[1:]


@contextmanager
def _hooked(layer: nn.Module, hook: Any) -> Iterator[None]:
    handle = layer.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()
