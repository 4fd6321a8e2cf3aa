"""Training throughput of the preset sizes on one GPU: clips/s, model TFLOP/s, MFU and peak memory, eager against
compiled, as Markdown.

    python benchmarks/train_throughput.py [--cases latte,video-ldm] [--batch 8] [--rounds 3] [--steps 10] [--nano]
    [--peer]

A step is what `models train` does with cached latents: noise, forward, backward, clipping, fused AdamW; bf16 over
float32 weights on a GPU. Every case is warmed up, then timed in rounds that alternate between the variants; the table
has medians. --peer adds diffusers Latte, where it is installed: the same shape, batch, dtype and optimiser. --nano:
sizes that a CPU runs in a moment, to see that the script works.
"""

import argparse
import statistics
import time

import torch

from clipmill.models.config import load
from clipmill.models.core.losses import sample_losses
from clipmill.models.core.noise_level import noised
from clipmill.models.network import Diffusion, Network
from clipmill.models.training.loop import allow_graphs
from clipmill.models.training.optimiser import make_optimisers
from clipmill.models.training.telemetry import peak_flops

# preset -> what its windows are as latents: channels, (frames, height, width), without and with text.
CASES = {
    "latte": (4, (16, 32, 32)),
    "video-ldm": (4, (16, 32, 56)),
    "svd-small": (4, (14, 32, 56)),
    "vdm": (3, (16, 64, 64)),
    "dit": (16, (5, 32, 56)),
}
NANO_GRID = (4, 8, 8)
OFFLINE = ["conditioning.text.encoder=hash", "conditioning.text.dim=1024"]


class Ours:
    """One preset's network and its training step on random latents."""

    def __init__(self, name, nano, batch, compiled, device):
        self.channels, self.grid = CASES[name]
        overrides = [] if nano or load(name).conditioning.text.encoder == "none" else OFFLINE
        config = load(f"{name}-nano" if nano else name, overrides)
        self.grid = NANO_GRID if nano else self.grid
        self.device, self.batch = device, batch
        self.network = Network(config, self.channels).to(device)
        self.diffusion = Diffusion(config)
        self.tokens = config.conditioning.text.tokens if config.conditioning.text.encoder != "none" else 0
        self.flops = 3 * self.network.flops(self.grid, self.tokens)
        self.optimisers = make_optimisers(self.network.named_parameters(), config.train)
        if compiled:
            allow_graphs(32)
            for block in self.network.repeated_blocks():
                block.compile()
        frames, height, width = self.grid
        self.z = torch.randn(batch, frames, self.channels, height, width, device=device)
        self.conditions = self._conditions()

    def _conditions(self):
        conditioner = self.network.conditioner
        numbers = {name: torch.ones(self.batch) for name in conditioner.config.micro.columns}
        made = conditioner.conditions(["a red ball rolls over the grass"] * self.batch, numbers, [None] * self.batch)
        made = made.map(lambda tensor: tensor.to(self.device))
        from clipmill.models.core.noise import SampleNoise

        return conditioner.with_given_frames(made, self.z, SampleNoise(0, range(self.batch)))[0]

    def step(self):
        parametrisation = self.diffusion.parametrisation
        level = self.diffusion.levels.level(
            torch.rand(self.batch, dtype=torch.float64), self.diffusion.schedule(self.grid)
        )
        eps = torch.randn_like(self.z)
        seen = parametrisation.network_input(noised(self.z, eps, level), level)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            prediction = self.network(seen, parametrisation.network_level(level).to(self.device), self.conditions)
            sample_losses(prediction, self.z, eps, level, parametrisation, self.diffusion.weight).mean().backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)


class Peer:
    """diffusers' Latte module of the shape of Latte XL/2, the same step."""

    def __init__(self, batch, device, nano):
        from diffusers import LatteTransformer3DModel

        heads, head_dim, layers, side = (2, 16, 2, 8) if nano else (16, 72, 28, 32)
        frames = NANO_GRID[0] if nano else 16
        options = {
            "num_attention_heads": heads,
            "attention_head_dim": head_dim,
            "in_channels": 4,
            "out_channels": 4,
            "num_layers": layers,
        }
        options |= {
            "sample_size": side,
            "patch_size": 2,
            "video_length": frames,
            "norm_type": "ada_norm_single",
            "caption_channels": 4096,
        }
        options |= {
            "cross_attention_dim": None,
            "attention_bias": True,
            "num_embeds_ada_norm": 1000,
            "norm_elementwise_affine": False,
        }
        self.model = LatteTransformer3DModel(**options).to(device).train()
        self.device, self.batch = device, batch
        self.z = torch.randn(batch, 4, frames, side, side, device=device)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), 1e-4, fused=device.type == "cuda")

    def step(self):
        time_steps = torch.randint(0, 1000, (self.batch,), device=self.device)
        eps = torch.randn_like(self.z)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            out = self.model(self.z + eps, timestep=time_steps, enable_temporal_attentions=True).sample
            (out.float() - eps).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)


def seconds(variant, steps, device):
    """Of one step, over `steps`."""
    _wait(device)
    start = time.perf_counter()
    for _ in range(steps):
        variant.step()
    _wait(device)
    return (time.perf_counter() - start) / steps


def _wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize()


def measured(variants, rounds, steps, device):
    """name -> (median seconds of a step, peak GiB)."""
    peaks = {}
    for name, variant in variants.items():
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        for _ in range(3):
            variant.step()
        _wait(device)
        peaks[name] = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else float("nan")
    times = {name: [] for name in variants}
    for _ in range(rounds):
        for name, variant in variants.items():
            times[name].append(seconds(variant, steps, device))
    return {name: (statistics.median(values), peaks[name]) for name, values in times.items()}


def row(case, name, step_s, peak_gib, batch, flops, parameters, peak):
    rate = flops * batch / step_s
    share = "" if peak is None else f"{100 * rate / peak:.1f} %"
    return (
        f"| {case} | {name} | {parameters / 1e6:.0f} M | {batch} | {batch / step_s:.2f} | {rate / 1e12:.1f} | {share} |"
        f" {peak_gib:.1f} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--nano", action="store_true")
    parser.add_argument("--peer", action="store_true")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    peak = peak_flops(device)
    print(f"{torch.cuda.get_device_name() if device.type == 'cuda' else 'CPU'}, torch {torch.__version__}\n")
    print(
        "| shape | variant | parameters | batch | clips/s | model TFLOP/s | MFU | peak memory, GiB"
        " |\n|---|---|---|---|---|---|---|---|"
    )
    for case in options.cases.split(","):
        variants = {"eager": Ours(case, options.nano, options.batch, False, device)}
        variants["compiled"] = Ours(case, options.nano, options.batch, True, device)
        if options.peer and case == "latte":
            variants["diffusers' Latte"] = Peer(options.batch, device, options.nano)
        found = measured(variants, options.rounds, options.steps, device)
        ours = variants["eager"]
        for name, (step_s, peak_gib) in found.items():
            model = variants[name].model if name.startswith("diffusers") else ours.network
            parameters = sum(p.numel() for p in model.parameters())
            print(row(case, name, step_s, peak_gib, options.batch, ours.flops, parameters, peak), flush=True)
        del variants, ours


if __name__ == "__main__":
    main()
