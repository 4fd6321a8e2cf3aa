"""Forward and backward pass of the DiT and the U-Net against diffusers' modules of the same shape: `python
benchmarks/backbone_speed.py` prints its table of docs/measured.md. diffusers is no dependency: where it is missing,
only our own rows are printed.

DiT: width, depth, heads, patch and the alternation of spatial and temporal blocks are those of diffusers'
LatteTransformer3DModel, which shares one adaLN projection between its blocks where ours, like Latte's own code, has one
per block. U-Net: levels, widths, heads, cross-attention and the temporal layers with learned mixing of
UNetSpatioTemporalConditionModel, which has projections around its transformers that ours has not; hence the columns of
GFLOP, counted by torch, and of GFLOP/s. Models take turns; medians are printed.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from clipmill.models.backbones.contract import Conditioning
from clipmill.models.backbones.dit import DiT, DiTConfig
from clipmill.models.backbones.unet import UNet, UNetConfig
from clipmill.models.layers.plan import SPATIAL, TEMPORAL

HEAD_DIM = 64
TOKEN_DIM = 64
TOKENS = 8
CHANNELS = 4


@dataclass(frozen=True)
class Contestant:
    """predict: the module's forward pass over the videos of the benchmark -> its prediction."""

    kind: str
    name: str
    module: nn.Module
    predict: Callable[[], torch.Tensor]

    def step_s(self, device: str) -> float:
        synchronise(device)
        start_s = time.perf_counter()
        self.predict().float().square().mean().backward()
        synchronise(device)
        elapsed_s = time.perf_counter() - start_s
        self.module.zero_grad(set_to_none=True)
        return elapsed_s


def our_dit(options: argparse.Namespace, z: torch.Tensor) -> Contestant:
    config = DiTConfig(width=options.dit_width, depth=options.depth, head_dim=HEAD_DIM, time_positions_in="stream")
    model = DiT(config).to(z.device)
    noise_level = torch.rand(len(z), device=z.device)
    return Contestant("DiT", "ours", model, lambda: model(z, noise_level, Conditioning()))


def their_dit(options: argparse.Namespace, z: torch.Tensor) -> Contestant:
    from diffusers import LatteTransformer3DModel

    heads = options.dit_width // HEAD_DIM
    shape = {
        "num_attention_heads": heads,
        "attention_head_dim": HEAD_DIM,
        "num_layers": options.depth // 2,
        "attention_bias": True,
    }
    sizes = {
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "sample_size": options.side,
        "patch_size": 2,
        "video_length": options.frames,
    }
    norm = {
        "norm_type": "ada_norm_single",
        "norm_elementwise_affine": False,
        "norm_eps": 1e-6,
        "activation_fn": "gelu-approximate",
    }
    model = LatteTransformer3DModel(**shape, **sizes, **norm, caption_channels=TOKEN_DIM).to(z.device)
    # Its constructor wants a text projection; the blocks have no cross-attention, so one token is all it computes.
    text = torch.randn(len(z), 1, TOKEN_DIM, device=z.device)
    step, videos = torch.full((len(z),), 500, device=z.device), z.transpose(1, 2)
    return Contestant("DiT", "diffusers", model, lambda: model(videos, step, text, return_dict=False)[0])


def our_unet(options: argparse.Namespace, z: torch.Tensor) -> Contestant:
    plans = ((SPATIAL, TEMPORAL), (SPATIAL, TEMPORAL), ())
    temporal = {
        "mixer": "alpha_images",
        "temporal_convolutions": True,
        "time_positions": "sinusoidal",
        "temporal_feed_forward_first": True,
    }
    config = UNetConfig(
        width=options.unet_width, multipliers=(1, 2, 4), plans=plans, head_dim=HEAD_DIM, token_dim=TOKEN_DIM, **temporal
    )
    model = UNet(config).to(z.device)
    noise_level = torch.rand(len(z), device=z.device)
    conditioning = Conditioning(tokens=torch.randn(len(z), TOKENS, TOKEN_DIM, device=z.device))
    return Contestant("U-Net", "ours", model, lambda: model(z, noise_level, conditioning))


def their_unet(options: argparse.Namespace, z: torch.Tensor) -> Contestant:
    from diffusers import UNetSpatioTemporalConditionModel

    widths = tuple(options.unet_width * multiplier for multiplier in (1, 2, 4))
    crossing, plain = "CrossAttn{}BlockSpatioTemporal", "{}BlockSpatioTemporal"
    blocks = {
        "down_block_types": tuple(name.format("Down") for name in (crossing, crossing, plain)),
        "up_block_types": tuple(name.format("Up") for name in (plain, crossing, crossing)),
    }
    heads = tuple(width // HEAD_DIM for width in widths)
    sizes = {
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "block_out_channels": widths,
        "num_frames": options.frames,
    }
    model = UNetSpatioTemporalConditionModel(
        **sizes,
        **blocks,
        num_attention_heads=heads,
        cross_attention_dim=TOKEN_DIM,
        projection_class_embeddings_input_dim=768,
    ).to(z.device)
    noise_level, ids = torch.rand(len(z), device=z.device), torch.zeros(len(z), 3, device=z.device)
    tokens = torch.randn(len(z), TOKENS, TOKEN_DIM, device=z.device)
    return Contestant("U-Net", "diffusers", model, lambda: model(z, noise_level, tokens, ids, return_dict=False)[0])


def contestants(options: argparse.Namespace, z: torch.Tensor) -> list[Contestant]:
    ours = [our_dit(options, z), our_unet(options, z)]
    try:
        return [ours[0], their_dit(options, z), ours[1], their_unet(options, z)]
    except ImportError:
        return ours


def forward_gflop(contestant: Contestant) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        contestant.predict()
    return counter.get_total_flops() / 1e9


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def table(entries: list[Contestant], seconds: dict[int, list[float]]) -> None:
    print("| backbone | by | parameters, M | forward, GFLOP | forward + backward, ms | GFLOP/s |")
    print("|---|---|---|---|---|---|")
    for index, entry in enumerate(entries):
        median_s, gflop = statistics.median(seconds[index]), forward_gflop(entry)
        count = sum(parameter.numel() for parameter in entry.module.parameters()) / 1e6
        print(
            f"| {entry.kind} | {entry.name} | {count:.1f} | {gflop:.1f} | {1000 * median_s:.0f} |"
            f" {3 * gflop / median_s:.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--side", type=int, default=32, help="of the latent, in positions")
    parser.add_argument("--dit-width", type=int, default=384)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--unet-width", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    z = torch.randn(options.batch, options.frames, CHANNELS, options.side, options.side, device=options.device)
    entries = contestants(options, z)
    seconds: dict[int, list[float]] = {index: [] for index in range(len(entries))}
    for turn in range(options.rounds + 1):
        for index, entry in enumerate(entries):
            elapsed_s = entry.step_s(options.device)
            # The first round warms up.
            seconds[index] += [elapsed_s] if turn else []
    table(entries, seconds)
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"CPU, {options.threads} threads"
    print(
        f"\n{where}, torch {torch.__version__}, float32, {options.batch} x {options.frames} x {CHANNELS} x"
        f" {options.side} x {options.side}"
    )


if __name__ == "__main__":
    main()
