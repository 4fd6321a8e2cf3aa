"""All parts together: a tiny network learns two values, and samples are those two values, half each."""

import pytest
import torch
from helpers.denoising_oracles import one_thread  # noqa: F401
from torch import nn

from clipmill.models.core.by_name import level_sampler_named, loss_weight_named, parametrisation_named, schedule_named
from clipmill.models.core.denoiser import denoiser
from clipmill.models.core.losses import sample_losses
from clipmill.models.core.noise import SampleNoise
from clipmill.models.core.noise_level import noised
from clipmill.models.core.samplers.ddim import ddim
from clipmill.models.core.samplers.edm import edm_heun
from clipmill.models.core.samplers.flow import flow_heun
from clipmill.models.core.sampling_levels import start, stations

pytestmark = pytest.mark.slow


SHAPE = (1, 1, 1, 1)
BATCH, STEPS, LEARNING_RATE = 256, 400, 0.01


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 48), nn.SiLU(), nn.Linear(48, 48), nn.SiLU(), nn.Linear(48, 1))

    def forward(self, z, noise_level, conditioning):
        return self.layers(torch.stack([z.flatten(), noise_level], dim=1)).reshape(z.shape)


@pytest.mark.parametrize(
    ("schedule", "prediction", "weight", "levels", "sampler"),
    [
        ("cosine", "v", "v", "uniform", ddim),
        ("cosine", "x", "v", "uniform", ddim),
        ("flow", "flow", "flow", "logit-normal", flow_heun),
        ("flow", "x", "flow", "mode", flow_heun),
        ("karras", "edm", "edm", "log-normal", edm_heun),
    ],
)
def test_two_values_are_learned(schedule, prediction, weight, levels, sampler):
    torch.manual_seed(0)
    network, schedule, parametrisation = Network(), schedule_named(schedule), parametrisation_named(prediction)
    loss_weight, level_sampler = loss_weight_named(weight), level_sampler_named(levels)
    optimiser = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / STEPS)
        noise = SampleNoise(0, [step])
        x0 = torch.where(torch.rand(BATCH, *SHAPE) < 0.5, 1.0, -1.0)
        level = level_sampler.level((noise.uniform("time") + torch.arange(BATCH) / BATCH) % 1, schedule)
        eps = noise.normal((BATCH, *SHAPE), "noise")[0]
        z = noised(x0, eps, level)
        said = network(parametrisation.network_input(z, level), parametrisation.network_level(level), None)
        loss = sample_losses(said, x0, eps, level, parametrisation, loss_weight, max_weight=25.0).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    stops = stations(schedule, 24)
    found = sampler(
        denoiser(network, parametrisation, None),
        start(SampleNoise(1, [0]).normal((1000, *SHAPE), "start")[0], stops),
        stops,
    )
    assert (found > 0).float().mean().item() == pytest.approx(0.5, abs=0.08)
    assert (found.abs() - 1).abs().median() < 0.1
    assert ((found.abs() - 1).abs() < 0.35).float().mean() > 0.85
