"""One process or several: what torchrun started, on which device, and how the weights are shared out."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from clipmill.curate.common.device import own_device
from clipmill.curate.common.lock import alone_in_new
from clipmill.curate.errors import UserError

# Long enough for the first batches of a cold file system, short enough that a lost process is noticed.
_TIMEOUT = timedelta(minutes=20)


@dataclass(frozen=True)
class Processes:
    """rank: of this process; world: how many there are; device: this process's."""

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def share(self, items: Iterable[Any]) -> list[Any]:
        """Every world-th item, beginning at this process's rank."""
        return list(items)[self.rank :: self.world]

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Element by element over all processes; float64 in, so that the order hardly matters."""
        if self.world > 1:
            values = values.to(self.device)
            dist.all_reduce(values)
        return values.cpu()

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        return bool(self.sum(torch.tensor([float(flag)]))[0] > 0)

    def gathered(self, value: Any) -> list[Any]:
        """The values of all processes, by rank."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        """Returns when every process has come here."""
        if self.world > 1:
            dist.barrier()


def start(device: str) -> Processes:
    """Join the processes that torchrun started; alone without it. device: auto, cpu or cuda. Raises UserError where
    there is no GPU.
    """
    rank, world = (int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1)))
    chosen = torch.device(own_device(device))
    if chosen.type == "cuda":
        chosen = torch.device("cuda", chosen.index or 0)
        torch.cuda.set_device(chosen)
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=_TIMEOUT)
    return Processes(rank, world, chosen)


@contextlib.contextmanager
def sole(folder: Path, processes: Processes) -> Iterator[None]:
    """While it lasts no other command changes the folder, which is made where it is not there. The first process sees
    to it for all of its group. Raises UserError in every one of them where another command is at work there.
    """
    with contextlib.ExitStack() as stack:
        refused = ""
        if processes.first:
            try:
                stack.enter_context(alone_in_new(folder))
            except UserError as error:
                refused = str(error)
        if refused := processes.gathered(refused)[0]:
            raise UserError(refused)
        yield


def stop() -> None:
    """Leave the group, where there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def shard(module: nn.Module, blocks: Iterable[nn.Module], bf16: bool) -> None:
    """FSDP2, in place: parameters of each block, and of what is left, lie spread over the processes until they are
    needed.
    """
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16 if bf16 else None, reduce_dtype=torch.float32)
    for block in blocks:
        fully_shard(block, mp_policy=policy)
    fully_shard(module, mp_policy=policy)


@contextlib.contextmanager
def gathered_weights(module: nn.Module) -> Iterator[None]:
    """For passes that do not begin at the forward of a module that `shard` spread: what lies in no block is together
    meanwhile, and is fetched anew afterwards; blocks see to themselves. Every process must come here, and make equally
    many passes.
    """
    from torch.distributed.fsdp import FSDPModule

    if not isinstance(module, FSDPModule):
        yield
        return
    module.unshard()
    try:
        yield
    finally:
        module.reshard()
