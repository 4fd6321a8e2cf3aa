"""How much an error counts at each noise level.

A weight is stated for errors of v = (alpha eps - sigma x0) / sqrt(alpha² + sigma²), in which every usual weight is
bounded from pure noise to clean. The same weight for errors of x0 is weight * (SNR + 1), for errors of eps weight *
(SNR + 1) / SNR. The loss turns it into the network's own prediction, so a weight means the same under every
parametrisation.
"""

from collections.abc import Callable

import torch

from clipmill.models.core.noise_level import NoiseLevel
from clipmill.models.core.parametrisation import Parametrisation

# level -> float64 >= 0 of its shape.
LossWeight = Callable[[NoiseLevel], torch.Tensor]


def plain(space: Parametrisation) -> LossWeight:
    """The unweighted squared error of what `space` predicts: Epsilon for Ho et al. 2020 (SNR on x0), V for SNR + 1
    (Salimans and Ho 2022), Clean for 1, FlowVelocity for flow matching, Edm for the weight of Karras et al. 2022,
    (sigma² + data_std²) / (sigma data_std)².
    """
    return lambda level: space.gain(level).square()


def min_snr(gamma: float = 5.0) -> LossWeight:
    """min(SNR, gamma) on x0 (Hang et al. 2023)."""
    return lambda level: torch.minimum(_signal_share(level), gamma * _noise_share(level))


def truncated_snr() -> LossWeight:
    """max(SNR, 1) on x0 (Salimans and Ho 2022, section 4)."""
    return lambda level: torch.maximum(_signal_share(level), _noise_share(level))


def p2(gamma: float = 1.0, k: float = 1.0) -> LossWeight:
    """1 / (k + SNR)^gamma on eps (Choi et al. 2022)."""
    return lambda level: _signal_share(level) / (k + level.snr) ** gamma


def sigmoid(bias: float = -3.0) -> LossWeight:
    """sigmoid(bias - log SNR) on eps (Kingma and Gao 2023; Hoogeboom et al. 2024, simpler diffusion). They mean it per
    unit of log-SNR: under levels uniform in t, multiply by -d log SNR / dt to have theirs.
    """
    return lambda level: _signal_share(level) * torch.sigmoid(bias - level.log_snr)


def _signal_share(level: NoiseLevel) -> torch.Tensor:
    return (level.alpha / level.length).square()


def _noise_share(level: NoiseLevel) -> torch.Tensor:
    return (level.sigma / level.length).square()
