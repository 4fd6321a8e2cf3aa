"""Training steps of the shapes DiT-XL/2 and Latte-XL/2: tokens/s, model TFLOP/s and MFU, compiled against eager,
against a plain module and diffusers', and as the loop of `models train` tells them.
"""

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from _gpu_bench import Bench, fitting, graph_breaks, peak_memory, peaks, timed
from _gpu_steps import Ours, Shape, diffusers_latte, latent_batch, latent_bucket, loop_objective, plain

from clipmill.models.core.noise import SampleNoise
from clipmill.models.processes import Processes
from clipmill.models.stop_signals import StopAsked
from clipmill.models.training.data.batch import VideoBatch
from clipmill.models.training.loop import Hooks, Trainer, compiled_graphs
from clipmill.models.training.telemetry import Telemetry

OFFLINE = ("conditioning.text.encoder=hash", "conditioning.text.dim=1024")
# As the peer beside it: no learned variances.
PLAIN = ("diffusion.variance_steps=0",)
NANO = (*PLAIN, "backbone.options.width=64", "backbone.options.depth=2", "backbone.options.head_dim=16")
# Positions of a step, over all of its videos, that are tried first: halved while memory does not suffice.
STEP_TOKENS = 32_768
FULL = {
    "Latte-XL/2": Shape("latte", PLAIN, 4, (16, 32, 32)),
    "DiT-XL/2": Shape("latte", (*PLAIN, "backbone.options.plans=['spatial']"), 4, (1, 32, 32)),
}
SMALL = {
    "Latte-XL/2": Shape("latte", NANO, 4, (4, 8, 8)),
    "DiT-XL/2": Shape("latte", (*NANO, "backbone.options.plans=['spatial']"), 4, (1, 8, 8)),
}
# Seconds that a case is allowed on a GPU, with the compiling.
OURS_S, COMPILED_S, PEER_S, LOOP_S = 25, 60, 30, 40


def run(bench: Bench) -> None:
    peak = peaks(bench)
    bench.tell("peak", peak)
    shapes = list(bench.pick(FULL, SMALL).items())[: bench.pick(None, None, 1)]
    found: dict[str, dict[str, dict]] = {name: {} for name, _ in shapes}
    # What matters most of every shape comes first: the time may not suffice for the rest.
    for variants in (_first, _later):
        for name, shape in shapes:
            variants(Variants(bench, name, shape, peak["peak_flops"], found[name]))
    for name, rows in found.items():
        bench.tell(f"{name}: ratios", ratios(rows))


@dataclass
class Variants:
    """Of one shape. rows: what has been measured, by variant."""

    bench: Bench
    name: str
    shape: Shape
    peak: float
    rows: dict[str, dict]

    @property
    def batch(self) -> int:
        """What fits the first variant is what the others get."""
        first = self.bench.pick(STEP_TOKENS // self.shape.tokens, 4, 2)
        return min([first, *(row["batch"] for row in self.rows.values())])

    def measure(self, variant: str, needs_s: float, make) -> None:
        """make: (shape, batch, bench) -> what has a step."""
        one = partial(_measured, make, self.shape, self.peak, self.bench)
        found = self.bench.case(f"{self.name}: {variant}", needs_s, partial(fitting, self.batch, one))
        self.rows.update({variant: found} if found else {})


def _first(of: Variants) -> None:
    of.measure("ours, eager", OURS_S, Ours)
    of.measure("plain module, eager", PEER_S, plain)
    of.measure("ours, compiled", COMPILED_S, lambda *given: Ours(*given).compiled())
    if of.name.startswith("Latte"):
        of.measure("diffusers, eager", PEER_S, _diffusers)
    loop = partial(_in_loop, of.shape, of.batch, of.peak, of.bench)
    of.bench.case(f"{of.name}: models train's loop", LOOP_S, loop)


def _later(of: Variants) -> None:
    of.bench.case(f"{of.name}: where the time goes", LOOP_S, partial(_kernels, of.shape, of.batch, of.bench))
    if of.bench.size == "tiny":
        return
    of.measure("plain module, compiled", COMPILED_S, _plain_compiled)
    if of.name.startswith("Latte"):
        of.measure("diffusers, compiled", COMPILED_S, _diffusers_compiled)


def _plain_compiled(shape: Shape, batch: int, bench: Bench):
    peer = plain(shape, batch, bench)
    return peer.compiled(peer.model.blocks)


def _diffusers(shape: Shape, batch: int, bench: Bench):
    options = shape.config().backbone.options
    return diffusers_latte(shape, options["width"] // options["head_dim"], options["depth"], batch, bench)


def _diffusers_compiled(shape: Shape, batch: int, bench: Bench):
    peer = _diffusers(shape, batch, bench)
    return peer.compiled([*peer.model.transformer_blocks, *peer.model.temporal_transformer_blocks])


def _measured(make, shape: Shape, peak: float, bench: Bench, batch: int) -> dict:
    """One variant at one batch. MFU counts our network's operations for every variant: the work that is asked for."""
    variant, facts, before = make(shape, batch, bench), {}, (compiled_graphs(), graph_breaks())
    reference = variant.flops if isinstance(variant, Ours) else _flops_of(shape)
    with peak_memory(bench, facts):
        facts |= timed({"step": variant.step}, bench)["step"]
    parameters = sum(parameter.numel() for parameter in variant.model.parameters())
    return (
        facts
        | rates(shape, reference * batch, batch, facts["ms"] / 1000, peak)
        | {
            "parameters": parameters,
            "graphs": compiled_graphs() - before[0],
            "graph_breaks": graph_breaks() - before[1],
        }
    )


def _flops_of(shape: Shape) -> int:
    """Of a training step over one video, by the network's own count, on no device."""
    from clipmill.models.network import Network

    with torch.device("meta"):
        return 3 * Network(shape.config(), shape.channels).flops(shape.grid, 0)


def rates(shape: Shape, flops: float, batch: int, step_s: float, peak: float) -> dict:
    """What a step of `flops` operations over `batch` videos in `step_s` seconds amounts to."""
    rate = flops / step_s
    return {
        "videos_per_s": batch / step_s,
        "tokens_per_s": batch * shape.tokens / step_s,
        "model_tflops": rate / 1e12,
        "mfu": rate / peak,
    }


def ratios(rows: dict[str, dict]) -> dict:
    """Ours over each other one of the same kind, by videos per second: 1.1 is a tenth faster."""
    found = {}
    for kind in ("eager", "compiled"):
        mine = rows.get(f"ours, {kind}")
        for name, row in rows.items():
            if mine and not name.startswith("ours"):
                found[f"ours, {kind} / {name}"] = mine["videos_per_s"] / row["videos_per_s"]
    if {"ours, eager", "ours, compiled"} <= rows.keys():
        found["ours, compiled / ours, eager"] = (
            rows["ours, compiled"]["videos_per_s"] / rows["ours, eager"]["videos_per_s"]
        )
    return found


def _kernels(shape: Shape, batch: int, bench: Bench) -> dict:
    """Of the compiled step: the kernels that take most of the time, and the sum of all; the rest of it none runs."""
    from torch.profiler import ProfilerActivity, profile

    ours, steps = Ours(shape, batch, bench).compiled(), 2
    ms = timed({"step": ours.step}, bench)["step"]["ms"]
    with profile(activities=[ProfilerActivity.CUDA if bench.cuda else ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            ours.step()
        if bench.cuda:
            torch.cuda.synchronize()
    name = "self_device_time_total" if bench.cuda else "self_cpu_time_total"
    rows = sorted(profiler.key_averages(), key=lambda row: -getattr(row, name))
    kernels_ms = sum(getattr(row, name) for row in rows) / 1000 / steps
    top = {row.key[:90]: round(getattr(row, name) / 1000 / steps, 3) for row in rows[:14]}
    return {"batch": batch, "step_ms": ms, "kernels_ms": kernels_ms, "ms_by_kernel": top}


def _noise_ms(batch: VideoBatch) -> float:
    """Of a step's two draws, latents and noise, which the loop makes on the CPU between two steps."""
    assert batch.latents is not None
    noise, shape = SampleNoise(0, batch.indices), batch.latents.mean.shape[1:]
    began = time.perf_counter()
    for purpose in ("latents", "noise"):
        noise.normal(shape, purpose).to(batch.latents.mean)
    return 1000 * (time.perf_counter() - began)


def _in_loop(shape: Shape, batch: int, peak: float, bench: Bench) -> dict:
    """The product's own loop: noise from the CPU, averages of the weights, checks of the gradient, and its figures."""
    each, lines = bench.pick(6, 1), []
    torch.manual_seed(0)
    objective, config = loop_objective(shape, bench, each * bench.pick(4, 2), each)
    processes = Processes(0, 1, bench.device)
    hooks = Hooks(lines.append, *([lambda: None] * 4))
    ready = [latent_batch(shape, batch, number * batch) for number in range(2)]
    began = time.monotonic()
    with TemporaryDirectory() as folder:
        telemetry = Telemetry(Path(folder) / "log.jsonl", bench.device, write=False)
        trainer = Trainer(objective, config.train, processes, (latent_bucket(shape, batch),), telemetry)
        trainer.run((ready[number % 2] for number in range(10**9)), hooks, StopAsked())
    later = sorted(lines[1:], key=lambda line: line["step_s"])  # the first line has the compiling in it
    middle = later[len(later) // 2]
    return rates(shape, objective.flops((shape.grid[0], shape.grid[1] * 8, shape.grid[2] * 8)) * batch,
                 batch, middle["step_s"], peak) | {
        "ms": 1000 * middle["step_s"],
        "ms_min": 1000 * later[0]["step_s"],
        "ms_max": 1000 * later[-1]["step_s"],
        "repeats": each * len(later),
        "batch": batch,
        "peak_gib": middle["peak_gib"],
        "first_line_s": each * lines[0]["step_s"],
        "whole_s": time.monotonic() - began,
        "skipped_steps": trainer.progress.skipped,
        "micro_batch": trainer.micro[0] or batch,
        "noise_on_cpu_ms": _noise_ms(ready[0]),
        "timed_by": "the loop's own clock",
    }  # fmt: skip
