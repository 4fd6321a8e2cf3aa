"""A linear network that is shown what the conditioner makes reaches the conditional mean of a Gaussian: what is given
carries all that it says it does, and nothing else.
"""

import pytest
import torch

from clipmill.models.conditioning.conditioner import Conditioner
from clipmill.models.conditioning.config import ConditioningConfig, FramesConfig
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.conditioning.observation import observed
from clipmill.models.core.noise import SampleNoise

torch.set_num_threads(1)
SHAPE = (4, 3, 2, 2)  # frames, colours, height, width: the latents are the pixels
SIZE = 4 * 3 * 2 * 2
ALPHA, SIGMA = 0.8, 0.6
KINDS = {
    "first": FramesConfig("first"),
    "prediction": FramesConfig("masks", prediction=1.0, interpolation=0.0, context_frames=2),
    "backward": FramesConfig("masks", prediction=0.0, interpolation=0.0, backward=1.0, context_frames=2),
    "interpolation": FramesConfig("masks", prediction=0.0, interpolation=1.0),
    "every": FramesConfig("masks", prediction=0.0, interpolation=0.0, every=1.0, every_nth=2),
    "past and future": FramesConfig("masks", prediction=0.0, interpolation=0.0, past_future=1.0),
    "low in space": FramesConfig("low", space=2),
    "low in time": FramesConfig("low", space=1, time=2),
    "low in both": FramesConfig("low", space=2, time=3),
    "blur": FramesConfig("structure", structure="blur", blur_px=0.6),
}


def covariance() -> torch.Tensor:
    """float64 [SIZE, SIZE]: neighbours in time are alike, and pixels, each in its own way."""
    mixed = torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(5), dtype=torch.float64) / SIZE**0.5
    time = 0.9 ** (torch.arange(4)[:, None] - torch.arange(4)).abs().double()
    alike = torch.kron(time, torch.full((SIZE // 4,) * 2, 0.5, dtype=torch.float64))
    return alike + mixed @ mixed.T


def exact(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """x and noise, float64 [count, SIZE], whose moments over these samples are exactly those of the Gaussian."""
    free = torch.randn(count, 2 * SIZE, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    white = torch.linalg.qr(free - free.mean(0)).Q * count**0.5
    return white[:, :SIZE] @ torch.linalg.cholesky(covariance()).T, white[:, SIZE:]


def conditional_mean(operator: torch.Tensor, z: torch.Tensor, given: torch.Tensor, noise: float) -> torch.Tensor:
    """E[x | z, operator x + noise], float64 [B, SIZE], where z = ALPHA x + SIGMA eps."""
    both = torch.cat([ALPHA * torch.eye(SIZE, dtype=torch.float64), operator])
    variance = torch.cat([torch.full((SIZE,), SIGMA**2), torch.full((len(operator),), noise**2)]).double()
    spread = both @ covariance() @ both.T + torch.diag(variance)
    return torch.cat([z, given], 1) @ torch.linalg.pinv(spread, hermitian=True, rtol=1e-10) @ both @ covariance()


def network(z: torch.Tensor, shown: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The best linear network's output on what it was fitted to: x from z and the channels beside it."""
    features = torch.cat([z, shown], 1)
    return features @ torch.linalg.lstsq(features, x, driver="gelsd", rcond=1e-9).solution


def seen_by(config: FramesConfig, x: torch.Tensor) -> torch.Tensor:
    """What is given of videos [B, *SHAPE], flat, zero where a frame is not."""
    return observed(config, x) if config.needs_pixels else x


@pytest.mark.parametrize("kind", KINDS)
def test_a_linear_network_reaches_the_conditional_mean(kind: str):
    config, count = KINDS[kind], 400
    conditioner = Conditioner(ConditioningConfig(frames=config), SHAPE[1])
    x, eps = exact(count)
    z, noise = ALPHA * x + SIGMA * eps, SampleNoise(2, range(1))
    videos = x.unflatten(1, SHAPE)
    # One draw for all samples: the network is a matrix for one pattern of frames.
    one = conditioner.with_given_frames(Conditions(), seen_by(config, videos)[:1], noise)[0].frames[0]
    mask = one[:, -1:].bool().expand(SHAPE)
    shown = torch.where(mask, seen_by(config, videos), 0.0)
    assert torch.equal(one[:, :-1], shown[0])
    operator = torch.where(mask, seen_by(config, torch.eye(SIZE, dtype=torch.float64).unflatten(1, SHAPE)), 0.0)
    expected = conditional_mean(operator.flatten(1).T, z, shown.flatten(1), 0.0)
    found = network(z, shown.flatten(1), x)
    assert torch.allclose(found, expected, atol=1e-6)
    without = conditional_mean(torch.zeros(0, SIZE, dtype=torch.float64), z, z[:, :0], 0.0)
    assert ((expected - x).square().mean() < 0.97 * (without - x).square().mean()) == bool(mask.any())


@pytest.mark.parametrize("kind", ["first", "low in space"])
def test_noise_on_what_is_given_counts_as_it_is_told(kind: str):
    """The conditioner's own noise, at the level of sampling, for every sample its own."""
    from dataclasses import replace

    config, count = replace(KINDS[kind], perturbation="log-normal", sampling_noise=0.5), 3000
    conditioner = Conditioner(ConditioningConfig(frames=config), SHAPE[1])
    x, eps = exact(count)
    z, videos, noise = ALPHA * x + SIGMA * eps, x.unflatten(1, SHAPE), SampleNoise(2, range(count))
    blank = conditioner.conditions([""] * count, {}, [None] * count)
    if config.needs_pixels:
        made = conditioner.with_observed(blank, observed(config, videos), noise)
    else:
        made = conditioner.with_known_frames(blank, videos[:, :1], SHAPE[0], noise)
    given = made.frames[:, :, -1, 0, 0][0].bool()
    operator = seen_by(config, torch.eye(SIZE, dtype=torch.float64).unflatten(1, SHAPE))[:, given].flatten(1).T
    shown = made.frames[:, given, :-1].flatten(1)
    assert float((shown - x @ operator.T).std()) == pytest.approx(0.5, rel=0.02)
    error = (network(z, shown, x) - conditional_mean(operator, z, shown, 0.5)).square().mean()
    assert error < 0.03 * x.square().mean()
    wrong = (network(z, shown, x) - conditional_mean(operator, z, shown, 0.0)).square().mean()
    assert wrong > 3 * error
    torch.testing.assert_close(made.micro[:, -1], torch.full((count,), 1 / 3))
