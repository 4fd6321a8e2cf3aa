"""What every network is given and gives: the only thing samplers and the trainer know about it."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.layers.plan import Grid

# A backward pass computes two products of matrices for each one of the forward pass.
TRAINING_TO_FORWARD_FLOPS = 3


@dataclass(frozen=True)
class Conditioning:
    """What a sample is conditioned on; None is the absence of a condition.

    vector: float [B, V], class, micro-conditioning and the like. tokens: float [B, N, D], text; token_mask: bool [B,
    N], False for padding. frames: float [B, T, F, H, W], put beside z as channels: known frames, masks, low resolution.
    independent: bool [B, T], True for frames that are images of their own, appended to a clip or a whole batch of
    images.
    """

    vector: torch.Tensor | None = None
    tokens: torch.Tensor | None = None
    token_mask: torch.Tensor | None = None
    frames: torch.Tensor | None = None
    independent: torch.Tensor | None = None

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "Conditioning":
        """The same with `function` applied to every tensor there is: to move, to choose samples, to repeat."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return Conditioning(**{name: None if tensor is None else function(tensor) for name, tensor in found.items()})


class Backbone(Protocol):
    """recompute_every: every n-th repeated block keeps only its inputs for the backward pass; 0 none, 1 all."""

    recompute_every: int

    def __call__(self, z: torch.Tensor, noise_level: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """z: float [B, T, C, H, W], unit variance; noise_level: float [B] -> prediction [B, T, D, H, W]."""
        ...

    def flops(self, grid: Grid, tokens: int = 0) -> int:
        """Forward pass of one video of `grid` (frames, height, width) with `tokens` text tokens."""
        ...

    def repeated_blocks(self) -> list[nn.Module]:
        """The blocks, in order, for compilation, sharding and checkpointing one by one."""
        ...


def training_flops(backbone: Backbone, grid: Grid, tokens: int = 0) -> int:
    """Floating point operations of one training step over one video, without anything recomputed: the numerator of
    MFU.
    """
    return TRAINING_TO_FORWARD_FLOPS * backbone.flops(grid, tokens)


def check_inputs(
    z: torch.Tensor, conditioning: Conditioning, channels: int, vector_dim: int, token_dim: int, frame_channels: int
) -> None:
    """Raises UserError for tensors that the network has no place for; without this a condition would go unheard."""
    if z.ndim != 5 or z.shape[2] != channels:
        raise UserError(f"the model takes videos [B, T, {channels}, H, W], not {list(z.shape)}")
    sides = (("vector", conditioning.vector, 1, vector_dim), ("tokens", conditioning.tokens, 2, token_dim))
    for name, tensor, axis, expected in (*sides, ("frames", conditioning.frames, 2, frame_channels)):
        if tensor is not None and tensor.shape[axis] != expected:
            raise UserError(f"the model takes {name} of {expected} channels as conditioning, not {tensor.shape[axis]}")


def with_frames(z: torch.Tensor, frames: torch.Tensor | None, frame_channels: int) -> torch.Tensor:
    """z [B, T, C, H, W] with the conditioning frames as further channels, zeros where there are none: [B, T, C +
    frame_channels, H, W].
    """
    if not frame_channels:
        return z
    if frames is None:
        frames = z.new_zeros(()).expand(*z.shape[:2], frame_channels, *z.shape[3:])
    return torch.cat([z, frames.to(z.dtype)], dim=2)
