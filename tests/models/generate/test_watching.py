"""Self-conditioning: what the network is shown of its own, in training and from step to step of sampling."""

from dataclasses import replace

import torch
from helpers.denoising_oracles import one_thread  # noqa: F401

from clipmill.models.autoencoder_for import autoencoder_of
from clipmill.models.config import load
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.conditions import conditions_of
from clipmill.models.generate.prompts import Prompt
from clipmill.models.generate.sampling import Generator
from clipmill.models.network import Diffusion, seeded_network
from clipmill.models.training.data.batch import VideoBatch, packed_batch
from clipmill.models.training.objectives.diffusion import DiffusionObjective

CPU = torch.device("cpu")
NANO = ("conditioning.frames.given=none", "conditioning.text.drop=0.0")


def system(*settings: str):
    config = load("walt-nano", (*NANO, *settings))
    autoencoder = autoencoder_of(config.autoencoder, CPU)
    network = seeded_network(config, autoencoder)
    for number, parameter in enumerate(network.parameters()):
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
    return config, network, autoencoder


def watched(network):
    """What is shown with every call, and what it says."""
    calls = []
    network.register_forward_hook(lambda _, given, found: calls.append((*given[:2], given[2].estimate, found)))
    return calls


def test_every_step_is_shown_the_estimate_of_the_step_before():
    config, network, autoencoder = system()
    calls = watched(network)
    generator = Generator(network, autoencoder, Diffusion(config), replace(config.sample, guidance=3.0), CPU)
    wanted = [Prompt(index, "a red ball", None, {}) for index in range(2)]
    grid = (5, 8, 8)
    conditions = conditions_of(generator, wanted, grid)
    made = generator.latents(grid, conditions, SampleNoise(0, [0, 1]))
    assert calls[0][2] is None, "there is none before the first"
    assert len(calls) == config.sample.steps
    levels = generator.levels(grid)
    for step in range(len(calls) - 1):
        z, _, _, v = calls[step]
        conditional, unconditional = v.double().chunk(2)
        guided = unconditional + 3 * (conditional - unconditional)
        angle = levels.angle[step]
        x0 = angle.cos() * z[:2].double() - angle.sin() * guided
        shown = calls[step + 1][2]
        torch.testing.assert_close(shown.double(), torch.cat([x0, x0]), rtol=0, atol=1e-4)
    again = generator.latents(grid, conditions, SampleNoise(0, [0, 1]))
    assert torch.equal(again, made), "nothing is left of an earlier video"


def batch(count: int, frames: int = 5, first: int = 0) -> VideoBatch:
    video = torch.randint(
        0, 256, (count, frames, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(first)
    )
    indices = tuple(range(first, first + count))
    return VideoBatch(0, count, indices, ("a",) * count, video, None, ("a",) * count, {}, (None,) * count)


def test_half_of_the_samples_are_shown_what_the_network_makes_without():
    config, network, autoencoder = system()
    objective, calls = DiffusionObjective(config, network, autoencoder, CPU), watched(network)
    objective("model", batch(24), 0).each.mean().backward()
    assert len(calls) == 2
    (z, level, before, first), (again, _, shown, _) = calls
    assert before is None
    assert not first.requires_grad
    assert torch.equal(z, again)
    there = shown.flatten(1).any(dim=1)
    assert 6 <= int(there.sum()) <= 18
    angle = (level.double() * torch.pi / 2)[:, None, None, None, None]
    x0 = angle.cos() * z.double() - angle.sin() * first.double()
    torch.testing.assert_close(shown[there].double(), x0[there], rtol=0, atol=1e-4)


def test_a_network_that_reads_its_estimate_is_told_none_by_zeros():
    _, network, _ = system()
    z, level = torch.randn(2, 5, 12, 8, 8), torch.tensor([0.3, 0.6])
    conditions = network.conditioner.conditions(["a", "b"], {}, [None, None])
    found = network(z, level, conditions)
    assert torch.equal(found, network(z, level, replace(conditions, estimate=torch.zeros_like(z))))
    assert (network(z, level, replace(conditions, estimate=z)) - found).abs().max() > 1e-2
    _, plain, _ = system("diffusion.self_conditioning=0.0")
    assert network.backbone.config.in_channels == 2 * plain.backbone.config.in_channels
    assert torch.equal(plain(z, level, replace(conditions, estimate=z)), plain(z, level, conditions))


def test_packed_steps_show_estimates_too():
    config, network, autoencoder = system("data.packed=true", "data.tokens=2000")
    objective = DiffusionObjective(config, network, autoencoder, CPU)
    parts = [batch(3), batch(2, frames=3, first=3)]
    together = objective("model", packed_batch(parts), 0).each
    apart = torch.cat([objective("model", part, 0).each for part in parts])
    # Noise levels are spread over the whole step: only finite and of its shape is the same.
    assert together.shape == apart.shape
    assert bool(torch.isfinite(together).all())
    off = system("data.packed=true", "data.tokens=2000", "diffusion.self_conditioning=1e-9")
    without = DiffusionObjective(off[0], off[1], off[2], CPU)("model", packed_batch(parts), 0).each
    assert (without - together).abs().max() > 1e-4


def test_operations_of_a_training_step_count_the_pass_that_makes_estimates():
    counts = []
    for share in (0.5, 0.0):
        config, network, autoencoder = system(f"diffusion.self_conditioning={share}")
        objective = DiffusionObjective(config, network, autoencoder, CPU)
        forward = network.flops((5, 8, 8), config.conditioning.text.tokens)
        counts.append(objective.flops((5, 16, 16)) / forward)
    assert counts == [4.0, 3.0]
