"""A batch as training sees it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from models.autoencoders.contract import Posterior


@dataclass(frozen=True)
class VideoBatch:
    """This process's share of one step. indices: numbers of the samples since the start of training. size: samples of the whole step, over
    all processes. video: uint8 [B, T, 3, H, W], or None where `latents` were cached. numbers: column -> float32 [B], NaN for unknown.
    labels: of classes, None for unknown. independent: bool [B, T], frames that are images of their own. failed: clips that did not decode
    -> reason. wait_s: time that training stood still for it.
    """

    bucket: int
    size: int
    indices: tuple[int, ...]
    clip_ids: tuple[str, ...]
    video: torch.Tensor | None
    latents: Posterior | None
    captions: tuple[str, ...]
    numbers: Mapping[str, torch.Tensor]
    labels: tuple[str | None, ...]
    independent: torch.Tensor | None = None
    failed: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.indices)

    def part(self, start: int, stop: int) -> "VideoBatch":
        """Samples start ... stop - 1, without the list of failures."""
        cut = slice(start, stop)
        return replace(
            self,
            indices=self.indices[cut],
            clip_ids=self.clip_ids[cut],
            video=None if self.video is None else self.video[cut],
            latents=None if self.latents is None else Posterior(self.latents.mean[cut], self.latents.std[cut]),
            captions=self.captions[cut],
            numbers={name: values[cut] for name, values in self.numbers.items()},
            labels=self.labels[cut],
            independent=None if self.independent is None else self.independent[cut],
            failed=(),
        )
