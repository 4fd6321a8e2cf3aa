"""What the loop knows of what it trains."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from clipmill.models.layers.plan import Grid
from clipmill.models.training.data.batch import VideoBatch


class Losses(NamedTuple):
    """each: float32 [B], one per sample, to be averaged over the whole step. parts: name -> float32 [B] for the log,
    detached.
    """

    each: torch.Tensor
    parts: Mapping[str, torch.Tensor]


class Objective(nn.Module):
    """A module whose parameters are trained, by one player or by several in turn (an autoencoder and its
    discriminator).
    """

    @property
    def perceptual_name(self) -> str | None:
        """For the run card: the perceptual distance among its losses; None where it knows none."""
        return None

    @property
    def facts(self) -> Mapping[str, Any]:
        """For the run card: what it learns of beside the data."""
        return {}

    def players(self, step: int) -> tuple[str, ...]:
        """Who moves in this step, in order."""
        return ("model",)

    def all_players(self) -> tuple[str, ...]:
        """Those of all steps."""
        return self.players(0)

    @abstractmethod
    def parameters_of(self, player: str) -> Iterable[tuple[str, nn.Parameter]]:
        """Names and parameters that the player moves."""

    @abstractmethod
    def forward(self, player: str, batch: VideoBatch, step: int) -> Losses:
        """batch: on the CPU; the objective moves what it needs."""

    @abstractmethod
    def validation(self, batch: VideoBatch, bins: int) -> torch.Tensor:
        """float64 [B, bins] on the CPU: losses at fixed noise, the same at every call."""

    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """Repeated blocks, for compilation and sharding."""

    @abstractmethod
    def flops(self, grid: Grid) -> int:
        """Of one training step over one video of (frames, height px, width px), without anything recomputed; 0 where
        unknown.
        """

    @abstractmethod
    def tokens(self, grid: Grid) -> int:
        """Positions that one such video has in the network."""
