"""The loop: batches in, steps of every player, averages, and what is written on the way."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.pieces import is_out_of_memory
from clipmill.models.checkpoints.ema import Average, Swapped
from clipmill.models.processes import Processes, gathered_weights, shard
from clipmill.models.settings.training import TrainConfig
from clipmill.models.stop_signals import StopAsked
from clipmill.models.training.data.batch import VideoBatch
from clipmill.models.training.data.buckets import Bucket
from clipmill.models.training.objectives.base import Objective
from clipmill.models.training.optimiser import make_optimisers, rate_share, set_rates
from clipmill.models.training.telemetry import Telemetry

# Steps in a row without a finite gradient: the weights are no longer ones from which training goes on.
MOST_SKIPPED = 10
# Asking all processes whether one was told to stop waits for the device: not in every step.
_ASK_EVERY = 10


class Diverged(UserError):
    """The training cannot go on: step after step its gradient is not finite. No checkpoint was written since."""


@dataclass
class Progress:
    """Where a training stands. step: done so far; seconds: of training, without checkpoints and validation; skipped:
    steps whose gradient was not finite; failed: clip -> why it did not decode.
    """

    step: int = 0
    seconds: float = 0.0
    skipped: int = 0
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hooks:
    """Called between steps, with time not counted. log: figures of the steps since the last call."""

    log: Callable[[dict[str, Any]], None]
    checkpoint: Callable[[], None]
    snapshot: Callable[[], None]
    validate: Callable[[], None]
    preview: Callable[[], None]


class Trainer:
    """Moves an objective's parameters. Everything a resumed training needs: the weights, `optimisers`, `averages` and
    `progress`.
    """

    def __init__(
        self,
        objective: Objective,
        config: TrainConfig,
        processes: Processes,
        buckets: tuple[Bucket, ...],
        telemetry: Telemetry,
    ) -> None:
        self.objective, self.config, self.processes = objective, config, processes
        self.buckets, self.telemetry, self.progress = buckets, telemetry, Progress()
        self.bf16 = config.precision == "bf16" or (config.precision == "auto" and processes.device.type == "cuda")
        self.micro = dict.fromkeys(range(len(buckets)), config.micro_batch)
        self._wrapped = self._prepared()
        self.named = [(name, parameter) for name, parameter in objective.named_parameters() if parameter.requires_grad]
        self.optimisers: dict[str, list[Optimizer]] = {}
        self._parameters: dict[str, list[nn.Parameter]] = {}
        for player in objective.all_players():
            moved = [
                (name, parameter) for name, parameter in objective.parameters_of(player) if parameter.requires_grad
            ]
            self.optimisers[player] = make_optimisers(moved, config)
            self._parameters[player] = [parameter for _, parameter in moved]
        self.averages = [Average(self.named, std) for std in config.ema_std]
        self._summed = 0
        self._in_row = dict.fromkeys(self.optimisers, 0)

    def all_optimisers(self) -> list[Optimizer]:
        """Those of every player, in the players' order."""
        return [optimiser for some in self.optimisers.values() for optimiser in some]

    def run(self, batches: Iterator[VideoBatch], hooks: Hooks, asked: StopAsked) -> str | None:
        """Until `steps` or `minutes` are over, or a signal asked; returns why it stopped early, None where it did
        not. Raises Diverged where step after step was skipped.
        """
        sums: dict[str, torch.Tensor] = {}
        self._summed = 0
        while self.progress.step < self.config.steps:
            start = time.perf_counter()
            with self.telemetry.waiting():
                batch = next(batches)
            with self.telemetry.training():
                figures = self._step(batch)
            self.progress.seconds += time.perf_counter() - start
            self._count(batch)
            for name, value in figures.items():
                sums[name] = sums.get(name, torch.zeros(())) + value
            self._summed += 1
            self._between(hooks, sums)
            reason = self._reason_to_stop(asked)
            if reason:
                return reason
        return None

    @contextlib.contextmanager
    def evaluating(self, average: Average | None = None) -> Iterator[None]:
        """No gradients, the precision of training, the objective in eval(), with an average's weights where one is
        given.
        """
        swapped = contextlib.nullcontext() if average is None else Swapped(self.named, average.tensors)
        self.objective.eval()
        try:
            with torch.no_grad(), swapped, gathered_weights(self.objective), self._precision():
                yield
        finally:
            self.objective.train()

    def _step(self, batch: VideoBatch) -> dict[str, torch.Tensor]:
        step = self.progress.step
        found: dict[str, torch.Tensor] = {}
        for player in self.objective.players(step):
            set_rates(self.optimisers[player], rate_share(step, self.config))
            parts = self._backward_fitting(player, batch, step)
            norm = self._clipped(self._parameters[player])
            if bool(torch.isfinite(norm)):
                self._in_row[player] = 0
                for optimiser in self.optimisers[player]:
                    optimiser.step()
            else:
                self.progress.skipped += 1
                self._in_row[player] += 1
            for optimiser in self.optimisers[player]:
                optimiser.zero_grad(set_to_none=True)
            found |= parts | {
                f"{player}_grad_norm" if len(self.optimisers) > 1 else "grad_norm": norm.detach().cpu().double()
            }
        self._check_converging()
        self.progress.step += 1
        for average in self.averages:
            average.update(self.named, self.progress.step)
        return found

    def _check_converging(self) -> None:
        config, most = self.config, max(self._in_row.values())
        if most < min(MOST_SKIPPED, config.steps):
            return
        rates = f"train.learning_rate (now {config.learning_rate:g})"
        if config.optimiser == "muon":
            rates += f" and train.muon_learning_rate (now {config.muon_learning_rate:g})"
        raise Diverged(
            f"the training has diverged: loss or gradient were not finite in {most} steps in a row, up to step"
            f" {self.progress.step + 1}; set {rates} lower and choose another --out"
        )

    def _backward_fitting(self, player: str, batch: VideoBatch, step: int) -> dict[str, torch.Tensor]:
        """The step's gradients, in smaller and smaller parts until they fit; the noise belongs to samples, so the
        result is the same.
        """
        while True:
            micro = self.micro[batch.bucket] or len(batch)
            try:
                return self._backward(player, batch, step, micro)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                self.objective.zero_grad(set_to_none=True)
                if (
                    self.processes.device.type != "cuda"
                    or self.processes.world > 1
                    or self.config.micro_batch
                    or micro == 1
                ):
                    raise UserError(self._out_of_memory(batch, micro)) from error
                torch.cuda.empty_cache()
                self.micro[batch.bucket] = max(1, micro // 2)

    def _backward(self, player: str, batch: VideoBatch, step: int, micro: int) -> dict[str, torch.Tensor]:
        sums: dict[str, torch.Tensor] = {}
        for start in range(0, len(batch), micro):
            part, last = batch.part(start, start + micro), start + micro >= len(batch)
            with self._synchronised(last), self._precision():
                losses = self._wrapped(player, part, step)
                # DDP and FSDP average over processes, and a process has the world-th part of the step.
                (losses.each.sum() * (self.processes.world / batch.size)).backward()
            for name, value in losses.parts.items():
                sums[name] = sums.get(name, torch.zeros(())) + value.double().sum().cpu() / batch.size
        return sums

    def _clipped(self, parameters: list[nn.Parameter]) -> torch.Tensor:
        """The norm of all gradients before clipping."""
        from clipmill.models.checkpoints.tensors import whole

        limit = self.config.clip_norm or float("inf")
        return whole(torch.nn.utils.clip_grad_norm_(parameters, limit))

    def _between(self, hooks: Hooks, sums: dict[str, torch.Tensor]) -> None:
        config, step = self.config, self.progress.step
        if step % config.log_every == 0 or step == config.steps:
            self._log(hooks, sums)
        for every, hook in (
            (config.validate_every, hooks.validate),
            (config.snapshots, hooks.snapshot),
            (config.preview_every, hooks.preview),
        ):
            if every and step % every == 0:
                hook()
        due = config.checkpoint_every and step % config.checkpoint_every == 0 and step < config.steps
        # Weights behind which gradients are not finite are not worth the place of the last good ones.
        if due and not any(self._in_row.values()):
            hooks.checkpoint()

    def _log(self, hooks: Hooks, sums: dict[str, torch.Tensor]) -> None:
        # Not log_every: a resumed training may begin between two lines. A discriminator may have begun in between, too:
        # its means are then over fewer steps than they are divided by, in that one line.
        steps, self._summed = self._summed, 0
        names = sorted(sums)
        shared = [name for name in names if not name.endswith("grad_norm")]
        totals = self.processes.sum(torch.stack([sums[name] for name in shared]).double()).tolist()
        means = {name: total / steps for name, total in zip(shared, totals, strict=True)}
        means |= {name: float(sums[name]) / steps for name in names if name not in shared}
        sums.clear()
        own = {"learning_rate": self.all_optimisers()[0].param_groups[0]["lr"], "graphs": compiled_graphs()}
        hooks.log(means | self.telemetry.figures(self.processes.world) | own)

    def _reason_to_stop(self, asked: StopAsked) -> str | None:
        config, world = self.config, self.processes.world
        over = config.minutes is not None and self.progress.seconds >= 60 * config.minutes
        if world > 1:
            if self.progress.step % _ASK_EVERY:
                return None
            over = self.processes.any(over)
        told = asked.told(self.processes)
        if told:
            return told
        return f"{config.minutes:g} minutes are over; to go on, raise train.minutes" if over else None

    def _count(self, batch: VideoBatch) -> None:
        parts = [(part.size, self.buckets[part.bucket].grid) for part in batch.parts or (batch,)]
        tokens = sum(size * self.objective.tokens(grid) for size, grid in parts)
        self.telemetry.count(batch.size, tokens, sum(size * self.objective.flops(grid) for size, grid in parts))
        self.progress.failed |= dict(batch.failed)

    def _prepared(self) -> nn.Module:
        """Compiled block by block, then spread over the processes."""
        config, world, device = self.config, self.processes.world, self.processes.device
        self.objective.to(device)
        if config.compile == "on" or (config.compile == "auto" and device.type == "cuda"):
            allow_graphs(8 * len(self.buckets))
            for block in self.objective.blocks():
                block.compile()
        if world == 1:
            return self.objective
        if config.parallel == "fsdp":
            shard(self.objective, self.objective.blocks(), self.bf16)
            return self.objective
        several = len(self.objective.all_players()) > 1
        on = [device.index] if device.type == "cuda" else None
        return DistributedDataParallel(
            self.objective, device_ids=on, broadcast_buffers=False, find_unused_parameters=several
        )

    @contextlib.contextmanager
    def _synchronised(self, last: bool) -> Iterator[None]:
        """Gradients travel between processes once per step, with its last part."""
        if isinstance(self._wrapped, DistributedDataParallel) and not last:
            with self._wrapped.no_sync():
                yield
            return
        if self.processes.world > 1 and self.config.parallel == "fsdp":
            self._wrapped.set_requires_gradient_sync(last)  # type: ignore[operator]
        yield

    def _precision(self) -> Any:
        return torch.autocast(self.processes.device.type, torch.bfloat16, enabled=self.bf16)

    def _out_of_memory(self, batch: VideoBatch, micro: int) -> str:
        peak = torch.cuda.max_memory_allocated() / 2**30 if self.processes.device.type == "cuda" else None
        used = "" if peak is None else f" with {peak:.1f} GiB in use"
        where = "a packed step" if batch.parts else f"the bucket {self.buckets[batch.bucket]}"
        return (
            f"out of memory in {where}, {micro} samples at a time{used}: set train.micro_batch lower, "
            "train.recompute=1, or smaller data.sizes or data.frames"
        )


def compiled_graphs() -> int:
    """How many graphs torch.compile has made in this process: one that goes on growing tells of recompilation."""
    import sys

    utils = sys.modules.get("torch._dynamo.utils")
    return 0 if utils is None else int(utils.counters["stats"].get("unique_graphs", 0))


def allow_graphs(count: int) -> None:
    """One graph per bucket and kind of block is meant, not a mistake to stop at."""
    import torch._dynamo.config as dynamo

    name = "recompile_limit" if hasattr(dynamo, "recompile_limit") else "cache_size_limit"
    setattr(dynamo, name, max(getattr(dynamo, name), count))
