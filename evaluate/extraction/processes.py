"""Several processes started by torchrun: each measures its share of the clips, the store on disk brings them
together.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def rank_and_world() -> tuple[int, int]:
    """(0, 1) outside torchrun."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def my_share(items: Sequence[Item], key: Callable[[Item], str]) -> list[Item]:
    """The items that are this process's to do. By their keys alone, not by their place: the lists of two processes may
    differ, because one has already stored what the other still looks for.
    """
    rank, world = rank_and_world()
    return [item for item in items if int(hashlib.sha256(key(item).encode()).hexdigest()[:8], 16) % world == rank]


def is_first() -> bool:
    """Whether this process prints and writes scores."""
    return rank_and_world()[0] == 0


def gathered_skips(failures: dict[str, str]) -> dict[str, str]:
    """The failures of all processes; returns when every process has come here, so that all shares lie in the store."""
    _, world = rank_and_world()
    if world == 1:
        return failures
    import torch.distributed as dist

    if not dist.is_initialized():
        dist.init_process_group("gloo")
    parts: list[dict[str, str]] = [{} for _ in range(world)]
    dist.all_gather_object(parts, failures)
    return {key: reason for part in parts for key, reason in part.items()}
