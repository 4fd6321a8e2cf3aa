"""Averages of the weights: the profile that is promised, and other widths afterwards."""

import numpy as np
import pytest
import torch
from torch import nn

from clipmill.models.checkpoints.ema import Average, Swapped, exponent_of, post_hoc_shares

STEPS = 2000


def walk(
    stds: tuple[float, ...], every: int = 0
) -> tuple[list[Average], dict[tuple[int, float], torch.Tensor], np.ndarray]:
    """Averages of a parameter on a random walk, snapshots of them, and the path."""
    parameter = nn.Parameter(torch.zeros(4, dtype=torch.float64))
    named = [("w", parameter)]
    averages = [Average(named, std) for std in stds]
    rng, path, snapshots = np.random.default_rng(0), [], {}
    for step in range(1, STEPS + 1):
        with torch.no_grad():
            parameter += torch.from_numpy(rng.normal(size=4))
        path.append(parameter.detach().numpy().copy())
        for average in averages:
            average.update(named, step)
            if every and step % every == 0:
                snapshots[step, average.std] = average.tensors["w"].clone()
    return averages, snapshots, np.array(path)


@pytest.mark.parametrize("std", [0.03, 0.05, 0.1, 0.2])
def test_the_profile_has_the_width_that_is_asked_for(std: float):
    times = (np.arange(100_000) + 0.5) / 100_000
    weights = times ** exponent_of(std)
    weights /= weights.sum()
    mean = (weights * times).sum()
    assert np.sqrt((weights * (times - mean) ** 2).sum()) == pytest.approx(std, rel=1e-3)


@pytest.mark.parametrize("std", [0.05, 0.1])
def test_the_average_is_the_weighted_mean_of_all_steps(std: float):
    (average,), _, path = walk((std,))
    steps = np.arange(1, STEPS + 1)
    profile = (steps / STEPS) ** (exponent_of(std) + 1) - ((steps - 1) / STEPS) ** (exponent_of(std) + 1)
    # beta = (1 - 1 / t)^(gamma + 1) telescopes into exactly these shares.
    np.testing.assert_allclose(average.tensors["w"].numpy(), profile @ path, rtol=1e-9)


@pytest.mark.parametrize(("std", "limit"), [(0.075, 0.005), (0.15, 0.02)])
def test_another_width_afterwards_is_near_the_real_one(std: float, limit: float):
    averages, snapshots, path = walk((0.05, 0.10, std), every=STEPS // 20)
    kept = [key for key in snapshots if key[1] != std]
    shares = post_hoc_shares(kept, STEPS, std)
    made = sum(share * snapshots[key] for share, key in zip(shares.tolist(), kept, strict=True))
    real = averages[2].tensors["w"]
    scale = float(np.abs(path).mean())
    assert float((made - real).abs().max()) < limit * scale
    nearest = min(float((snapshots[STEPS, other] - real).abs().max()) for other in (0.05, 0.10))
    assert nearest > 5 * float((made - real).abs().max()), (
        "a nearest snapshot would do as well: this test could not fail"
    )


def test_swapping_gives_the_weights_back_bitwise():
    module = nn.Linear(3, 3)
    before = module.weight.detach().clone()
    with Swapped(module.named_parameters(), {"weight": torch.ones(3, 3)}):
        assert bool((module.weight == 1).all())
    assert torch.equal(module.weight, before)
