"""Schedules given by a table of steps, and the table's continuous view."""

import torch

from clipmill.curate.errors import UserError
from clipmill.models.core.geometry import Geometry
from clipmill.models.core.schedules import Schedule


class Tabulated(Schedule):
    """alphas: float64 [N] in [0, 1), falling, the signal's factor after each step (the root of the cumulated product of
    1 - beta).

    Step i lies at t = (i + 1) / N (see `time_of_step`), clean data at t = 0; in between the angle is linear in t.
    """

    geometry = Geometry.PRESERVING

    def __init__(self, alphas: torch.Tensor) -> None:
        if (
            alphas.ndim != 1
            or not len(alphas)
            or not 0 <= float(alphas[-1]) <= float(alphas[0]) < 1
            or bool((alphas.diff() >= 0).any())
        ):
            raise UserError("a table of noise needs factors of the signal that fall from below 1 to 0 or more")
        alphas = torch.cat([alphas.new_ones(1), alphas]).to(torch.float64)
        sigmas = (1 - alphas.square()).sqrt()
        # Angles from either end, so that a zero in the table stays exactly zero.
        self._angle, self._complement = torch.atan2(sigmas, alphas), torch.atan2(alphas, sigmas)
        self.steps = len(alphas) - 1

    def signal_and_noise(self, time: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        position = time * self.steps
        before = position.floor().clamp(0, self.steps - 1).to(torch.int64)
        angle, complement = (
            torch.lerp(table.to(time.device)[before], table.to(time.device)[before + 1], position - before)
            for table in (self._angle, self._complement)
        )
        return complement.sin(), angle.sin()

    def time_of_angle(self, angle: torch.Tensor) -> torch.Tensor:
        table = self._angle.to(angle.device)
        after = torch.searchsorted(table, angle.contiguous()).clamp(1, self.steps)
        within = (angle - table[after - 1]) / (table[after] - table[after - 1])
        return ((after - 1 + within) / self.steps).clamp(0, 1)


def linear_alphas(steps: int = 1000, first_beta: float = 1e-4, last_beta: float = 0.02) -> torch.Tensor:
    """float64 [steps], betas linear (Ho et al. 2020, DDPM)."""
    return _alphas(torch.linspace(first_beta, last_beta, steps, dtype=torch.float64))


def sqrt_linear_alphas(steps: int = 1000, first_beta: float = 0.00085, last_beta: float = 0.012) -> torch.Tensor:
    """float64 [steps], roots of betas linear (Rombach et al. 2022: Stable Diffusion "scaled linear"; LVDM's 0.0015 to
    0.0155).
    """
    return _alphas(torch.linspace(first_beta**0.5, last_beta**0.5, steps, dtype=torch.float64).square())


def zero_terminal_alphas(alphas: torch.Tensor) -> torch.Tensor:
    """float64 [N], stretched so that the last is exactly 0 and the first stays (Lin et al. 2024, arXiv 2305.08891,
    algorithm 1).
    """
    return (alphas - alphas[-1]) * (alphas[0] / (alphas[0] - alphas[-1]))


def _alphas(betas: torch.Tensor) -> torch.Tensor:
    if not (len(betas) and bool((betas > 0).all() and (betas < 1).all())):
        raise UserError("betas must lie between 0 and 1, and there must be at least one")
    return (torch.log1p(-betas).cumsum(0) / 2).exp()
