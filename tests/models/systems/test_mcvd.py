"""MCVD: past and future are there or not, by a coin each; what is masked has no influence; four tasks by one model."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.commands import invoke, models, one_line
from helpers.denoising_oracles import one_thread  # noqa: F401
from helpers.gaussian_system import correlations, gaussian_generator, markov, prompts

from clipmill.models.autoencoder_for import autoencoder_named
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.config import load
from clipmill.models.core.noise import SampleNoise
from clipmill.models.network import seeded_network
from clipmill.models.stages.extension import Extension, extended
from clipmill.models.stages.plain import plain

MANY = SampleNoise(0, range(4000))
QUICK = ("--set", "sample.steps=2", "--device", "cpu")


def network():
    """The smallest, with numbers everywhere, also where layers start at zero."""
    config = load("mcvd-nano")
    found = seeded_network(config, autoencoder_named("pixels", config.autoencoder.options))
    with torch.no_grad():
        for parameter in found.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    return found


def test_past_and_future_are_dropped_independently():
    _, given = with_given(network(), torch.zeros(len(MANY.sample_indices), 6, 3, 1, 1), MANY)
    past, future = given[:, 0], given[:, -1]
    shares = [float((a & b).double().mean()) for a in (past, ~past) for b in (future, ~future)]
    assert shares == pytest.approx([0.25] * 4, abs=0.03)
    assert not bool(given[:, 2:4].any()), "what is between is made in every task"


def with_given(system, latents, noise):
    """(conditions, bool [B, T] of what is given)."""
    conditions, weights = system.conditioner.with_given_frames(Conditions(), latents, noise)
    return conditions, weights == 0


def test_what_is_masked_has_no_influence():
    """The gradient of what the network says with respect to a masked frame is 0, of a given one it is not."""
    system, noise = network(), SampleNoise(0, range(24))
    shape, generator = (24, 6, 3, 16, 16), torch.Generator().manual_seed(2)
    latents = torch.randn(shape, generator=generator).requires_grad_()
    conditions, given = with_given(system, latents, noise)
    said = system(torch.randn(shape, generator=generator), torch.full((24,), 0.5), conditions)
    made = ~given[:, :, None, None, None]
    (slope,) = torch.autograd.grad((said * made).sum(), latents)
    reached = slope.abs().amax(dim=(2, 3, 4)) > 0
    assert 16 < int(given.sum()) < 80
    assert torch.equal(reached, given)


@pytest.mark.parametrize(
    ("ends", "means"),
    [
        ({}, (0.0, 0.0)),
        ({"first": 1}, (0.9**1, 0.9**2)),
        ({"last": 1}, (0.9**2, 0.9**1)),
        ({"first": 1, "last": 1}, (0.95, 0.95)),
    ],
)
def test_one_model_does_four_tasks(ends: dict[str, int], means: tuple[float, float]):
    """On Gaussian frames of correlation 0.9: generation, prediction, its reverse and interpolation have the means that
    the closed form has; the last is (0.9 + 0.9^2) / (1 + 0.9^3).
    """
    system = gaussian_generator(markov(4, 0.9))
    conditioner = system.network.conditioner
    frames = replace(load("mcvd").conditioning.frames, predicted=True)
    conditioner.config = replace(conditioner.config, frames=frames)
    pictures = {name: torch.full((3, 2, 2), 160, dtype=torch.uint8) for name in ends}
    made = plain((4, 2, 2))(system, prompts(150, **pictures), SampleNoise(0, range(150)))
    found = (made[:, 1:3].double().mean(dim=(0, 2, 3, 4)) - 127.5) / 32.5
    closed = torch.tensor(means).double()
    if len(ends) == 2:
        closed = torch.full((2,), (0.9 + 0.81) / (1 + 0.729)).double()
    assert float((found - closed).abs().max()) < 0.08


def test_block_by_block_it_is_one_long_video():
    """Blocks of two frames, each given the two before it."""
    system = gaussian_generator(markov(4, 0.8), steps=30)
    made = extended(Extension(8, (4, 2, 2), 2, 2))(system, prompts(300), SampleNoise(0, range(300)))
    assert float((correlations(made) - markov(8, 0.8)).abs().max()) < 0.15


def test_the_commands_of_the_four_tasks(tiny_run: Path, tmp_path: Path):
    models("train", tiny_run, "--config", "mcvd-nano", "--steps", 2, "--device", "cpu", "--out", tmp_path / "mcvd",
           "--set", "train.validate_every=0")  # fmt: skip
    one_line(
        invoke("models", "sample", tmp_path / "mcvd", "--out", tmp_path / "a", "--extend", 20, "--set",
               "sample.context=3", *QUICK),
        "continues up to 2 of the 6 frames of a window: set sample.context=2",
    )  # fmt: skip
