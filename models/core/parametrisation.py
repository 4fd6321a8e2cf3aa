"""What a network predicts. Every choice is a fixed mixture a x0 + b eps at a noise level, so one pair of equations
turns all of them around: z = alpha x0 + sigma eps and prediction = a x0 + b eps.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch

from clipmill.curate.errors import UserError
from clipmill.models.core.noise_level import Coordinate, NoiseLevel, over


class Estimate(NamedTuple):
    """What is in z, as believed: both float like z, [B, T, C, H, W], with z = alpha x0 + sigma eps."""

    x0: torch.Tensor
    eps: torch.Tensor


@dataclass(frozen=True)
class Parametrisation(ABC):
    """coordinate: how the network is told the noise level."""

    coordinate: Coordinate = "angle"

    @abstractmethod
    def mixture(self, level: NoiseLevel) -> tuple[torch.Tensor, torch.Tensor]:
        """(a, b) of prediction = a x0 + b eps, float64 of the level's shape."""

    def input_scale(self, level: NoiseLevel) -> torch.Tensor:
        """c_in, float64: the network sees c_in z."""
        return torch.ones_like(level.alpha)

    def network_input(self, z: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
        """c_in z, in z's dtype."""
        return (over(self.input_scale(level), z) * z).to(z.dtype)

    def network_level(self, level: NoiseLevel) -> torch.Tensor:
        """The network's second argument: float32 of the level's shape, see `NoiseLevel.coordinate`."""
        return level.coordinate(self.coordinate)

    def target(self, x0: torch.Tensor, eps: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
        """What a perfect network would say of z = alpha x0 + sigma eps."""
        a, b = self.mixture(level)
        return over(a, x0) * x0 + over(b, x0) * eps

    def estimate(self, prediction: torch.Tensor, z: torch.Tensor, level: NoiseLevel) -> Estimate:
        """Inverse of `target` given z. Not finite where z says nothing of what is missing: eps at sigma = 0, x0 at
        alpha = 0, for the parametrisations that do not predict it.
        """
        a, b = self.mixture(level)
        determinant = level.alpha * b - level.sigma * a
        x0 = over(b / determinant, z) * z - over(level.sigma / determinant, z) * prediction
        eps = over(level.alpha / determinant, z) * prediction - over(a / determinant, z) * z
        return Estimate(x0, eps)

    def gain(self, level: NoiseLevel) -> torch.Tensor:
        """float64: by how much an error of v (see `V`) at a given z is larger as an error of this prediction. Bounded
        at every level.
        """
        a, b = self.mixture(level)
        return (level.alpha * b - level.sigma * a).abs() / level.length


@dataclass(frozen=True)
class Epsilon(Parametrisation):
    """The noise (Ho et al. 2020). Says nothing of x0 where alpha = 0: not for schedules with zero terminal SNR."""

    def mixture(self, level: NoiseLevel) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros_like(level.alpha), torch.ones_like(level.alpha)

    def estimate(self, prediction: torch.Tensor, z: torch.Tensor, level: NoiseLevel) -> Estimate:
        return estimate_of_eps(prediction, z, level)


@dataclass(frozen=True)
class Clean(Parametrisation):
    """x0 itself."""

    def mixture(self, level: NoiseLevel) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.ones_like(level.alpha), torch.zeros_like(level.alpha)

    def estimate(self, prediction: torch.Tensor, z: torch.Tensor, level: NoiseLevel) -> Estimate:
        return estimate_of_x0(prediction, z, level)


@dataclass(frozen=True)
class V(Parametrisation):
    """v = (alpha eps - sigma x0) / sqrt(alpha² + sigma²), the derivative of z in the angle (Salimans and Ho 2022,
    appendix D).

    The network sees z / sqrt(alpha² + sigma²). With alpha = 1 this is Stable Video Diffusion's preconditioning, c_skip
    = 1 / (sigma² + 1) and c_out = -sigma / sqrt(sigma² + 1), given `coordinate="quarter-log"`.
    """

    def mixture(self, level: NoiseLevel) -> tuple[torch.Tensor, torch.Tensor]:
        return -level.sigma / level.length, level.alpha / level.length

    def input_scale(self, level: NoiseLevel) -> torch.Tensor:
        return 1 / level.length


@dataclass(frozen=True)
class FlowVelocity(Parametrisation):
    """eps - x0, the velocity dz/dt of the straight path (Lipman et al. 2023; Liu et al. 2023)."""

    coordinate: Coordinate = "time"

    def mixture(self, level: NoiseLevel) -> tuple[torch.Tensor, torch.Tensor]:
        return -torch.ones_like(level.alpha), torch.ones_like(level.alpha)


@dataclass(frozen=True)
class Edm(Parametrisation):
    """F in x0 = c_skip z + c_out F, with input and target of unit variance for data of standard deviation `data_std`
    (Karras et al. 2022, table 1 and appendix B.6), written for any alpha; at alpha = 1 it is theirs. F = -v where
    data_std = 1.
    """

    coordinate: Coordinate = "quarter-log"
    data_std: float = 0.5

    def __post_init__(self) -> None:
        if not self.data_std > 0:
            raise UserError(f"the data's standard deviation must be over 0, not {self.data_std}")

    def mixture(self, level: NoiseLevel) -> tuple[torch.Tensor, torch.Tensor]:
        scale = self.input_scale(level)
        return level.sigma * scale / self.data_std, -self.data_std * level.alpha * scale

    def input_scale(self, level: NoiseLevel) -> torch.Tensor:
        return 1 / torch.hypot(level.sigma, self.data_std * level.alpha)


def estimate_of_x0(x0: torch.Tensor, z: torch.Tensor, level: NoiseLevel) -> Estimate:
    """The estimate whose clean part is x0; its eps is not finite where sigma = 0."""
    return Estimate(x0, (z - over(level.alpha, z) * x0) / over(level.sigma, z))


def estimate_of_eps(eps: torch.Tensor, z: torch.Tensor, level: NoiseLevel) -> Estimate:
    """The estimate whose noise is eps; its x0 is not finite where alpha = 0."""
    return Estimate((z - over(level.sigma, z) * eps) / over(level.alpha, z), eps)
