"""Averages of the weights with a power-function profile, and of any other width afterwards (Karras et al. 2024, EDM2,
section 3).
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import nn


def exponent_of(std: float) -> float:
    """gamma of the profile p(t) ~ t^gamma whose standard deviation is `std` of the training time: std² = (gamma + 1) /
    ((gamma + 2)² (gamma + 3)) (EDM2, section 3.1). std over 0 and below 0.2887; a plain mean of all steps has the
    latter.
    """
    inverse = std**-2
    # (gamma + 2)² (gamma + 3) - (gamma + 1) / std² = 0, its largest root.
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


class Average:
    """The average of a module's parameters at one width; before the first step, the parameters themselves."""

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], std: float) -> None:
        self.std, self._exponent = std, exponent_of(std)
        self.tensors = {name: parameter.detach().clone() for name, parameter in named if parameter.requires_grad}

    @torch.no_grad()
    def update(self, named: Iterable[tuple[str, nn.Parameter]], step: int) -> None:
        """After `step` steps, from 1: average <- beta average + (1 - beta) weights, beta = (1 - 1 / step)^(gamma +
        1).
        """
        new_share = 1 - (1 - 1 / step) ** (self._exponent + 1)
        found = dict(named)
        mine, theirs = list(self.tensors.values()), [found[name].detach() for name in self.tensors]
        torch._foreach_lerp_(mine, theirs, new_share)


class Swapped:
    """`with Swapped(module, average):` computes with the average; the weights come back afterwards."""

    def __init__(self, named: Iterable[tuple[str, nn.Parameter]], tensors: Mapping[str, torch.Tensor]) -> None:
        self._pairs = [(parameter, tensors[name]) for name, parameter in named if name in tensors]
        self._kept: list[torch.Tensor] = []

    @torch.no_grad()
    def __enter__(self) -> None:
        self._kept = [parameter.detach().clone() for parameter, _ in self._pairs]
        for parameter, tensor in self._pairs:
            parameter.copy_(tensor)

    @torch.no_grad()
    def __exit__(self, *error: object) -> None:
        for (parameter, _), kept in zip(self._pairs, self._kept, strict=True):
            parameter.copy_(kept)


def post_hoc_shares(snapshots: Sequence[tuple[int, float]], step: int, std: float) -> np.ndarray:
    """float64 [n]: by how much to multiply each snapshot (its step, its std), so that their sum is nearest to the
    average of width `std` at `step` (EDM2, section 3.2: least squares between profiles). They do not have to sum to one
    exactly.
    """
    exponents = [exponent_of(width) for _, width in snapshots]
    times = [float(taken) for taken, _ in snapshots]
    gram = np.array(
        [
            [_overlap(a, ga, b, gb) for b, gb in zip(times, exponents, strict=True)]
            for a, ga in zip(times, exponents, strict=True)
        ]
    )
    wanted = np.array([_overlap(a, ga, float(step), exponent_of(std)) for a, ga in zip(times, exponents, strict=True)])
    return np.linalg.lstsq(gram, wanted, rcond=1e-12)[0]


def _overlap(time_a: float, gamma_a: float, time_b: float, gamma_b: float) -> float:
    """Integral of the product of two profiles (gamma + 1) t^gamma / time^(gamma + 1) on 0 < t < time."""
    log = (
        (gamma_a + gamma_b + 1) * math.log(min(time_a, time_b))
        - (gamma_a + 1) * math.log(time_a)
        - (gamma_b + 1) * math.log(time_b)
    )
    return (gamma_a + 1) * (gamma_b + 1) / (gamma_a + gamma_b + 1) * math.exp(log)
