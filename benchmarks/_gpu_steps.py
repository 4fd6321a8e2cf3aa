"""Training steps of one shape: ours, through the loop of `models train`, diffusers' module, a plain module of torch.

All of them hold float32 weights, compute in bf16 autocast on a GPU, clip the gradient's norm at 1 and step fused AdamW.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from _gpu_bench import Bench, Skipped
from torch import nn

from clipmill.models.autoencoders.contract import Posterior
from clipmill.models.config import ModelConfig, load
from clipmill.models.core.losses import sample_losses
from clipmill.models.core.noise import SampleNoise
from clipmill.models.core.noise_level import noised
from clipmill.models.network import Diffusion, Network
from clipmill.models.training.data.batch import VideoBatch
from clipmill.models.training.data.buckets import Bucket
from clipmill.models.training.loop import allow_graphs
from clipmill.models.training.objectives.diffusion import DiffusionObjective

SPACE = 8  # px of a video to one position of its latents


@dataclass(frozen=True)
class Shape:
    """preset with overrides, and the latents of one video: channels, (frames, height, width)."""

    preset: str
    overrides: tuple[str, ...]
    channels: int
    grid: tuple[int, int, int]

    @property
    def tokens(self) -> int:
        """Patches of one video, of 1 x 2 x 2."""
        return self.grid[0] * self.grid[1] * self.grid[2] // 4

    def config(self) -> ModelConfig:
        return load(self.preset, self.overrides)


class Ours:
    """A preset's network and its training step on random latents, noise made on the device."""

    def __init__(self, shape: Shape, batch: int, bench: Bench) -> None:
        config = shape.config()
        torch.manual_seed(0)
        self.bench, self.grid = bench, shape.grid
        self.network = Network(config, shape.channels).to(bench.device)
        self.diffusion = Diffusion(config)
        self.tokens = config.conditioning.text.tokens if config.conditioning.text.encoder != "none" else 0
        self.flops = 3 * self.network.flops(shape.grid, self.tokens)
        self.optimiser = adamw(self.network, bench)
        frames, height, width = shape.grid
        self.z = torch.randn(batch, frames, shape.channels, height, width, device=bench.device)
        self.conditions = self._conditions()

    @property
    def model(self) -> nn.Module:
        return self.network

    def compiled(self) -> "Ours":
        """The same, compiled block by block; on a CPU by tracing alone, without code being generated."""
        compile_blocks(self.network.repeated_blocks(), self.bench)
        return self

    def _conditions(self):
        conditioner, batch = self.network.conditioner, len(self.z)
        numbers = {name: torch.ones(batch) for name in conditioner.config.micro.columns}
        made = conditioner.conditions(["a red ball rolls over the grass"] * batch, numbers, [None] * batch)
        made = made.map(lambda tensor: tensor.to(self.bench.device))
        return conditioner.with_given_frames(made, self.z, SampleNoise(0, range(batch)))[0]

    def step(self) -> None:
        parametrisation, batch = self.diffusion.parametrisation, len(self.z)
        level = self.diffusion.levels.level(torch.rand(batch, dtype=torch.float64), self.diffusion.schedule(self.grid))
        eps = torch.randn_like(self.z)
        seen = parametrisation.network_input(noised(self.z, eps, level), level)
        with self.bench.autocast(self.bench.cuda):
            prediction = self.network(seen, parametrisation.network_level(level).to(self.z.device), self.conditions)
            sample_losses(prediction, self.z, eps, level, parametrisation, self.diffusion.weight).mean().backward()
        moved(self.network, self.optimiser)


class Peer:
    """Another module of that shape, the same step. predict: noisy z [B, T, C, H, W] and times [B] -> the noise."""

    def __init__(self, model: nn.Module, predict, shape: Shape, batch: int, bench: Bench) -> None:
        self.model, self.bench = model.to(bench.device).train(), bench
        self.predict = predict
        frames, height, width = shape.grid
        self.z = torch.randn(batch, frames, shape.channels, height, width, device=bench.device)
        self.optimiser = adamw(self.model, bench)

    def compiled(self, blocks) -> "Peer":
        compile_blocks(blocks, self.bench)
        return self

    def step(self) -> None:
        times = torch.randint(0, 1000, (len(self.z),), device=self.z.device)
        eps = torch.randn_like(self.z)
        with self.bench.autocast(self.bench.cuda):
            found = self.predict(self.model, self.z + eps, times)
            (found.float() - eps).square().mean().backward()
        moved(self.model, self.optimiser)


def adamw(model: nn.Module, bench: Bench) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), 1e-4, fused=bench.cuda)


def moved(model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


def compile_blocks(blocks, bench: Bench) -> None:
    allow_graphs(64)
    for block in blocks:
        block.compile() if bench.cuda else block.compile(backend="eager")


def diffusers_latte(shape: Shape, heads: int, depth: int, batch: int, bench: Bench) -> Peer:
    """diffusers' Latte: `depth` blocks in all, half of them along time."""
    try:
        from diffusers import LatteTransformer3DModel
    except ImportError as error:
        raise Skipped(f"diffusers does not import ({error})") from error
    frames, height, _ = shape.grid
    head_dim = shape.config().backbone.options["head_dim"]
    sizes = {"num_attention_heads": heads, "attention_head_dim": head_dim, "num_layers": depth // 2}
    sizes |= {"in_channels": shape.channels, "out_channels": shape.channels, "sample_size": height, "patch_size": 2}
    norm = {"norm_type": "ada_norm_single", "norm_elementwise_affine": False, "norm_eps": 1e-6}
    model = LatteTransformer3DModel(
        **sizes, **norm, activation_fn="gelu-approximate", attention_bias=True, video_length=frames, caption_channels=64
    )
    # Its constructor wants a text projection; its blocks have no cross-attention, so one token is all that it computes.
    text = torch.randn(batch, 1, 64, device=bench.device)

    def predict(module, z, times):
        return module(z.transpose(1, 2), times, text, return_dict=False)[0].transpose(1, 2)

    return Peer(model, predict, shape, batch, bench)


class PlainBlock(nn.Module):
    """adaLN-Zero, attention and MLP as everyone writes them: x [N, L, D], six vectors of each row from c [N, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.before, self.between = (nn.LayerNorm(width, 1e-6, elementwise_affine=False) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        shift, scale, gate, shift2, scale2, gate2 = self.modulation(c)[:, None].chunk(6, dim=-1)
        read = self.before(x) * (1 + scale) + shift
        query, key, value = self.qkv(read).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + gate * self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        return x + gate2 * self.mlp(self.between(x) * (1 + scale2) + shift2)


class Plain(nn.Module):
    """A plain DiT (one kind of block) or Latte (spatial and temporal by turns): z [B, T, C, H, W], times [B]."""

    def __init__(self, channels: int, width: int, heads: int, depth: int, temporal: bool) -> None:
        super().__init__()
        self.width, self.temporal = width, temporal
        self.patches = nn.Conv2d(channels, width, 2, 2)
        self.time = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(PlainBlock(width, heads) for _ in range(depth))
        self.last = nn.Linear(width, 4 * channels)

    def forward(self, z: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        batch, frames, _, height, width = z.shape
        angles = times[:, None].float() * 1e4 ** (-torch.arange(128, device=z.device) / 128)
        c = self.time(torch.cat([angles.cos(), angles.sin()], dim=-1))
        x = self.patches(z.flatten(0, 1)).flatten(2).transpose(1, 2)
        for number, block in enumerate(self.blocks):
            if self.temporal and number % 2:
                x = x.unflatten(0, (batch, frames)).transpose(1, 2).flatten(0, 1)
                x = block(x, c.repeat_interleave(len(x) // batch, 0))
                x = x.unflatten(0, (batch, -1)).transpose(1, 2).flatten(0, 1)
            else:
                x = block(x, c.repeat_interleave(frames, 0))
        x = self.last(x).unflatten(1, (height // 2, width // 2)).unflatten(-1, (-1, 2, 2))
        return x.permute(0, 3, 1, 4, 2, 5).reshape(batch, frames, -1, height, width)


def plain(shape: Shape, batch: int, bench: Bench) -> Peer:
    options = shape.config().backbone.options
    width, depth = options["width"], options["depth"]
    model = Plain(shape.channels, width, width // options["head_dim"], depth, "temporal" in options["plans"])
    return Peer(model, lambda module, z, times: module(z, times), shape, batch, bench)


class Latents:
    """In place of an autoencoder, for an objective that is given latents."""

    def __init__(self, channels: int) -> None:
        self.latent_channels = channels
        self.latent_mean, self.latent_std = torch.zeros(channels), torch.ones(channels)

    def latent_grid(self, grid):
        return grid[0], grid[1] // SPACE, grid[2] // SPACE


def loop_objective(shape: Shape, bench: Bench, steps: int, log_every: int) -> tuple[DiffusionObjective, ModelConfig]:
    """What `models train` moves, for `steps` steps of which every `log_every` are told."""
    config = shape.config()
    train = replace(config.train, steps=steps, log_every=log_every, validate_every=0, checkpoint_every=0, warm_up=0)
    config = replace(config, train=replace(train, compile="auto" if bench.full else "off"))
    network = Network(config, shape.channels)
    return DiffusionObjective(config, network, Latents(shape.channels), bench.device), config


def latent_batch(shape: Shape, batch: int, first: int) -> VideoBatch:
    """Cached latents as the loader hands them over, on the CPU."""
    frames, height, width = shape.grid
    mean = torch.randn(batch, frames, shape.channels, height, width)
    columns = shape.config().conditioning.micro.columns
    return VideoBatch(
        bucket=0,
        size=batch,
        indices=tuple(range(first, first + batch)),
        clip_ids=("",) * batch,
        video=None,
        latents=Posterior(mean, torch.full_like(mean, 0.1)),
        captions=("a red ball",) * batch,
        numbers={name: torch.ones(batch) for name in columns},
        labels=(None,) * batch,
    )


def latent_bucket(shape: Shape, batch: int) -> Bucket:
    frames, height, width = shape.grid
    return Bucket(frames, height * SPACE, width * SPACE, 8.0, (0,), batch)
