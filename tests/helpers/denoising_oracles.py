"""Estimates that are right by mathematics, for data whose distribution is known."""

import pytest
import torch

from clipmill.models.core.noise_level import over
from clipmill.models.core.parametrisation import Estimate, estimate_of_x0


@pytest.fixture(autouse=True)
def one_thread():
    """Tensors here are tiny: on a busy machine, threads that wait for one another take thirty times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def point_mass(x):
    """Data that is always x."""
    return lambda z, level: estimate_of_x0(x.to(z).expand_as(z), z, level)


def gaussian(variance):
    """Data N(0, variance), every number on its own; finite from clean to pure noise."""

    def denoise(z, level):
        scale = 1 / (variance * level.alpha**2 + level.sigma**2)
        return Estimate(over(variance * level.alpha * scale, z) * z, over(level.sigma * scale, z) * z)

    return denoise


def correlated_frames(covariance):
    """Two or more frames, jointly Gaussian with covariance float64 [T, T], every pixel on its own."""

    def denoise(z, level):
        noisy = level.alpha**2 * covariance + level.sigma**2 * torch.eye(len(covariance), dtype=torch.float64)
        return estimate_of_x0(
            torch.einsum("ij,bj...->bi...", level.alpha * covariance @ torch.linalg.inv(noisy), z), z, level
        )

    return denoise


def two_points(distance, variance):
    """Data N(±distance, variance), half each: not linear in z."""

    def denoise(z, level):
        spread = variance * level.alpha**2 + level.sigma**2
        centre = distance * torch.tanh(over(distance * level.alpha / spread, z) * z)
        residual = z - over(level.alpha, z) * centre
        return Estimate(
            centre + over(variance * level.alpha / spread, z) * residual, over(level.sigma / spread, z) * residual
        )

    return denoise


def through(parametrisation, denoise):
    """The same, said by a network with that parametrisation and understood again."""
    return lambda z, level: parametrisation.estimate(parametrisation.target(*denoise(z, level), level), z, level)


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def fresh_noise(shape, seed=0):
    """A sampler's noise, new at every call."""
    generator = torch.Generator().manual_seed(seed)
    return lambda step: torch.randn(shape, generator=generator, dtype=torch.float64)
