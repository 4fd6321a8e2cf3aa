"""Attention of an image model to other frames than its own: the plan of its layers, overridden while it samples."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.backbones.contract import Conditioning
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.layers.attention import Attention
from clipmill.models.layers.plan import FULL, SPATIAL, AttentionPlan

Told = TypeVar("Told", Conditions, Conditioning)
ENDS = AttentionPlan("frames", key_frames=(0, -1))


@contextmanager
def attending(backbone: nn.Module, plan: AttentionPlan) -> Iterator[None]:
    """While it lasts, layers that look at their own frame follow `plan`, with the weights that they have."""
    layers = _within_frames(backbone)
    for layer in layers:
        layer.plan = plan
    try:
        yield
    finally:
        for layer in layers:
            layer.plan = SPATIAL


def check_attention(backbone: nn.Module) -> None:
    """Raises UserError where no layer looks at its own frame alone."""
    if not _within_frames(backbone):
        raise UserError(
            "this model has no attention within frames (plan spatial), which sample.zero_shot.attention would change:"
            " leave it out"
        )


class InClips(nn.Module):
    """A backbone that never sees more than `clip` frames at once (ControlVideo, 2305.13077, section 3.4): every
    (clip - 1)-th frame and the last are key frames, predicted together under full attention; the frames between two of
    them, as queries to those two. Key frames that are more than a clip are predicted likewise, which the paper leaves
    open. A video of one clip is under full attention.
    """

    def __init__(self, backbone: nn.Module, clip: int) -> None:
        super().__init__()
        self.backbone, self.clip = backbone, clip

    def forward(self, z: torch.Tensor, noise_level: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """As the backbone: float [B, T, C, H, W] -> [B, T, D, H, W]."""
        return self._predicted(z, noise_level, conditioning, range(z.shape[1]))

    def _predicted(
        self, z: torch.Tensor, noise_level: torch.Tensor, conditioning: Conditioning, places: Sequence[int]
    ) -> torch.Tensor:
        """Of the frames at `places`, [B, n, D, H, W]."""
        if len(places) <= self.clip:
            return self._at_once(z, noise_level, conditioning, places, FULL)
        marks = key_places(len(places), self.clip)
        keys = self._predicted(z, noise_level, conditioning, [places[mark] for mark in marks])
        parts = []
        for number, (begin, end) in enumerate(pairwise(marks)):
            parts.append(keys[:, number : number + 1])
            if end - begin > 1:
                clip = places[begin : end + 1]
                parts.append(self._at_once(z, noise_level, conditioning, clip, ENDS)[:, 1:-1])
        return torch.cat([*parts, keys[:, -1:]], dim=1)

    def _at_once(
        self,
        z: torch.Tensor,
        noise_level: torch.Tensor,
        conditioning: Conditioning,
        places: Sequence[int],
        plan: AttentionPlan,
    ) -> torch.Tensor:
        chosen = list(places)
        with attending(self.backbone, plan):
            return self.backbone(z[:, chosen], noise_level, of_frames(conditioning, chosen))


def of_frames(told: Told, frames: list[int] | slice) -> Told:
    """The same conditions of some of the frames."""
    known = {name: getattr(told, name) for name in ("frames", "independent")}
    return replace(told, **{name: tensor[:, frames] for name, tensor in known.items() if tensor is not None})


def key_places(frames: int, clip: int) -> list[int]:
    """Every (clip - 1)-th of so many frames from the first, and the last."""
    return sorted({*range(0, frames, clip - 1), frames - 1})


def _within_frames(backbone: nn.Module) -> list[Attention]:
    return [layer for layer in backbone.modules() if isinstance(layer, Attention) and layer.plan == SPATIAL]
