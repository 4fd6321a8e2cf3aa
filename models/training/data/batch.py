"""A batch as training sees it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from clipmill.models.autoencoders.contract import Posterior


@dataclass(frozen=True)
class VideoBatch:
    """This process's share of one step. indices: numbers of the samples since the start of training. size: samples of
    the whole step, over all processes. video: uint8 [B, T, 3, H, W], or None where `latents` were cached. numbers:
    column -> float32 [B], NaN for unknown.
    labels: of classes, None for unknown. independent: bool [B, T], frames that are images of their own. failed: clips
    that did not decode -> reason. parts: of a packed step, its samples by bucket, in the same order; video, latents and
    independent are there alone.
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
    parts: "tuple[VideoBatch, ...]" = ()

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
            parts=tuple(self._parts_within(start, stop)),
        )

    def _parts_within(self, start: int, stop: int) -> Iterator["VideoBatch"]:
        first = 0
        for one in self.parts:
            if first < stop and first + len(one) > start:
                yield one.part(max(start - first, 0), stop - first)
            first += len(one)


def packed_batch(parts: Sequence[VideoBatch]) -> VideoBatch:
    """Batches of several buckets as one step."""
    if len(parts) == 1:
        return parts[0]
    return VideoBatch(
        bucket=parts[0].bucket,
        size=sum(one.size for one in parts),
        indices=tuple(index for one in parts for index in one.indices),
        clip_ids=tuple(clip_id for one in parts for clip_id in one.clip_ids),
        video=None,
        latents=None,
        captions=tuple(caption for one in parts for caption in one.captions),
        numbers={name: torch.cat([one.numbers[name] for one in parts]) for name in parts[0].numbers},
        labels=tuple(label for one in parts for label in one.labels),
        failed=tuple(failure for one in parts for failure in one.failed),
        parts=tuple(parts),
    )
