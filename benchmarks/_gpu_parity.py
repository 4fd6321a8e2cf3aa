"""Does a GPU compute what the CPU computes? Losses, gradients, a short training and samples of the presets' smallest
sizes, from the same weights, data and noise; in float32, and in bf16 autocast against float32.
"""

import copy
from contextlib import nullcontext
from functools import partial

import torch
from _gpu_bench import Bench
from _gpu_steps import Latents, Shape, latent_batch

from clipmill.evaluate.networks.i3d import true_float32
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.sampling import Generator
from clipmill.models.network import Diffusion, Network
from clipmill.models.training.objectives.diffusion import DiffusionObjective

PRESETS = ("latte", "dit", "vdm", "video-ldm", "svd-small")
# Largest difference, of the CPU's value: by dtype, for losses, gradients, losses of a short training, and samples.
TOLERANCES = {
    "float32": {"loss": 1e-4, "gradient": 1e-3, "training": 1e-3, "samples": 1e-2},
    "bfloat16": {"loss": 3e-2, "gradient": 1e-1, "training": 2e-1, "samples": 2e-1},
}
STEPS, BATCH, NEEDS_S = 10, 4, 10


def run(bench: Bench) -> None:
    bench.tell("tolerances", TOLERANCES)
    for name in PRESETS[: bench.pick(None, None, 1)]:
        bench.case(name, NEEDS_S, partial(_preset, name, bench))


def _preset(name: str, bench: Bench) -> dict:
    shape = Shape(f"{name}-nano", (), 4, (4, 8, 8))
    cpu = torch.device("cpu")
    start = weights(shape)
    exact = outcome(shape, start, cpu, False)
    found = {}
    for dtype in TOLERANCES:
        there = outcome(shape, start, bench.device, dtype == "bfloat16")
        apart = {what: difference(there[what], exact[what]) for what in exact}
        within = all(apart[what] <= limit for what, limit in TOLERANCES[dtype].items())
        found[dtype] = apart | {"within": within}
    return found


def weights(shape: Shape) -> dict[str, torch.Tensor]:
    """As a network starts, but with nothing at zero: a closed gate would hide every difference behind it."""
    torch.manual_seed(0)
    network = Network(shape.config(), shape.channels)
    found = network.state_dict()
    return {
        name: tensor + 0.05 * torch.randn_like(tensor) if tensor.is_floating_point() else tensor
        for name, tensor in found.items()
    }


def outcome(shape: Shape, start: dict[str, torch.Tensor], device: torch.device, bf16: bool) -> dict[str, torch.Tensor]:
    """Losses of samples, all gradients, losses of a short training, latents that are sampled; float64 on the CPU."""
    config = shape.config()
    network = Network(config, shape.channels)
    network.load_state_dict(copy.deepcopy(start))
    objective = DiffusionObjective(config, network.to(device), Latents(shape.channels), device).to(device)
    torch.manual_seed(1)
    batch = latent_batch(shape, BATCH, 0)
    precision = partial(torch.autocast, device.type, torch.bfloat16) if bf16 else nullcontext
    with true_float32() if not bf16 else nullcontext():
        with precision():
            made = sampled(objective, config, batch, device, bf16)
            losses = objective("model", batch, 0).each
        losses.mean().backward()
        gradient = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        with precision():
            curve = trained(objective, batch)
    found = {"loss": losses, "gradient": gradient, "training": torch.stack(curve), "samples": made}
    return {what: tensor.detach().double().cpu() for what, tensor in found.items()}


def trained(objective: DiffusionObjective, batch) -> list[torch.Tensor]:
    """The mean loss before each of a few steps."""
    optimiser, curve = torch.optim.AdamW(objective.parameters(), 1e-4), []
    for number in range(STEPS):
        optimiser.zero_grad(set_to_none=True)
        loss = objective("model", batch, number).each.mean()
        loss.backward()
        optimiser.step()
        curve.append(loss.detach())
    return curve


@torch.no_grad()
def sampled(objective: DiffusionObjective, config, batch, device: torch.device, bf16: bool) -> torch.Tensor:
    """Latents of the preset's own sampler."""
    noise = SampleNoise(5, batch.indices)
    z = batch.latents.mean.to(device)
    conditions, _ = objective.conditions(batch, z, noise, drop=False)
    generator = Generator(objective.network, objective.autoencoder, Diffusion(config), config.sample, device, bf16)
    return generator.latents((z.shape[1], *z.shape[3:]), conditions, noise)


def difference(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Root mean square of the difference, of the exact values' own."""
    return ((found - exact).square().mean() / exact.square().mean()).sqrt().item()
