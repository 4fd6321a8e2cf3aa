"""Noise as a function of time: t = 0 is clean (or as clean as the schedule gets), t = 1 the noisiest."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from clipmill.curate.errors import UserError
from clipmill.models.core.geometry import Geometry
from clipmill.models.core.noise_level import NoiseLevel


class Schedule(ABC):
    """Time t in [0, 1] <-> noise level, strictly rising in angle. All numbers are float64: there is one per sample, not
    per pixel.
    """

    geometry: Geometry

    @property
    def shift(self) -> float:
        """What sigma / alpha of an unshifted schedule is multiplied by; see `Shifted`."""
        return 1.0

    @abstractmethod
    def signal_and_noise(self, time: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Two numbers in the ratio alpha : sigma, float64 like `time`; an exact zero where the schedule ends in pure
        noise or clean.
        """

    @abstractmethod
    def time_of_angle(self, angle: torch.Tensor) -> torch.Tensor:
        """The t at which atan(sigma / alpha) is `angle`, float64; angles outside the schedule's range give its ends."""

    def level(self, time: torch.Tensor) -> NoiseLevel:
        """time: float in [0, 1] of any shape, which is the level's."""
        return self.geometry.level(*self.signal_and_noise(time.to(torch.float64)))

    def time_of(self, level: NoiseLevel) -> torch.Tensor:
        """Inverse of `level`, whatever geometry the level is in."""
        return self.time_of_angle(level.angle)


@dataclass(frozen=True)
class Cosine(Schedule):
    """phi = pi t / 2 (Nichol and Dhariwal 2021; Ho et al. 2022, Video Diffusion Models). Finite bounds on the log-SNR
    cut the ends off: phi is then linear between them, the form of Kingma and Gao 2023 (usual: 20 and -20).
    """

    log_snr_max: float = math.inf
    log_snr_min: float = -math.inf
    geometry: Geometry = Geometry.PRESERVING

    def signal_and_noise(self, time: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # Both angles are kept, each measured from the end where it is small: the sine of exactly 0 is exactly 0, cos(pi
        # / 2) is not.
        angle = _lerp(_angle(-self.log_snr_max), _angle(-self.log_snr_min), time)
        complement = _lerp(_angle(self.log_snr_max), _angle(self.log_snr_min), time)
        return complement.sin(), angle.sin()

    def time_of_angle(self, angle: torch.Tensor) -> torch.Tensor:
        first, last = _angle(-self.log_snr_max), _angle(-self.log_snr_min)
        return ((angle - first) / (last - first)).clamp(0, 1)


@dataclass(frozen=True)
class Flow(Schedule):
    """alpha = 1 - t, sigma = t: the straight path of rectified flow (Liu et al. 2023; Lipman et al. 2023)."""

    geometry: Geometry = Geometry.STRAIGHT

    def signal_and_noise(self, time: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return 1 - time, time

    def time_of_angle(self, angle: torch.Tensor) -> torch.Tensor:
        sine, cosine = angle.sin(), (torch.pi / 2 - angle).sin()
        return sine / (sine + cosine)


@dataclass(frozen=True)
class Karras(Schedule):
    """sigma / alpha = (sigma_min^(1/rho) + t (sigma_max^(1/rho) - sigma_min^(1/rho)))^rho (Karras et al. 2022, equation
    5, from its other end). At t = 0 sigma_min is left. Stable Video Diffusion samples with sigma_max = 700.
    """

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    geometry: Geometry = Geometry.EXPLODING

    def __post_init__(self) -> None:
        if not (0 < self.sigma_min < self.sigma_max < math.inf and self.rho > 0):
            raise UserError(f"noise must rise from sigma_min > 0: {self.sigma_min} to {self.sigma_max}, rho {self.rho}")

    def signal_and_noise(self, time: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        root = _lerp(self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho), time)
        return torch.ones_like(time), root**self.rho

    def time_of_angle(self, angle: torch.Tensor) -> torch.Tensor:
        first, last = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        return ((angle.tan() ** (1 / self.rho) - first) / (last - first)).clamp(0, 1)


@dataclass(frozen=True)
class Shifted(Schedule):
    """Another schedule with sigma / alpha multiplied by `ratio` at every time: its log-SNR moves by -2 ln(ratio)
    (Hoogeboom et al. 2023, simple diffusion, section 3.1), which on the straight path is t' = ratio t / (1 + (ratio -
    1) t) (Esser et al. 2024, equation 23).
    """

    base: Schedule
    ratio: float

    def __post_init__(self) -> None:
        if not 0 < self.ratio < math.inf:
            raise UserError(f"a shift multiplies the noise by a number over 0, not {self.ratio}")

    @property
    def shift(self) -> float:
        return self.ratio * self.base.shift

    @property
    def geometry(self) -> Geometry:  # type: ignore[override]
        """That of the base: a shift changes which noise belongs to a time, not the scale of z."""
        return self.base.geometry

    def signal_and_noise(self, time: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        signal, noise = self.base.signal_and_noise(time)
        return signal, noise * self.ratio

    def time_of_angle(self, angle: torch.Tensor) -> torch.Tensor:
        return self.base.time_of_angle(torch.atan2(angle.sin(), self.ratio * (torch.pi / 2 - angle).sin()))


def time_of_step(step: torch.Tensor, steps: int) -> torch.Tensor:
    """t = (step + 1) / steps, float64, of integers in 0 ... steps - 1: the discrete view of any schedule, noisiest step
    at t = 1.
    """
    return (step.to(torch.float64) + 1) / steps


def step_of_time(time: torch.Tensor, steps: int) -> torch.Tensor:
    """The step, int64, at or next above `time`; inverse of `time_of_step`, and 0 at t = 0."""
    # The margin is many roundings of (step + 1) / steps * steps and far below one step.
    return (torch.ceil(time.to(torch.float64) * steps - 1e-6) - 1).clamp(0, steps - 1).to(torch.int64)


def _angle(log_ratio: float) -> float:
    """atan(exp(log_ratio / 2)), exact at both infinities."""
    return math.atan(math.exp(log_ratio / 2))


def _lerp(first: float, last: float, weight: torch.Tensor) -> torch.Tensor:
    """Exactly `first` at 0 and exactly `last` at 1."""
    return torch.lerp(torch.full_like(weight, first), torch.full_like(weight, last), weight)
