"""Which device networks run on."""

import os
import sys
from pathlib import Path

from clipmill.curate.errors import UserError

DEVICES = ("auto", "cpu", "cuda")


def resolve_device(name: str) -> str:
    """auto -> cuda where torch finds a GPU, else cpu; another name as it is (see `check_device`)."""
    if name != "auto":
        return name
    # torch is slow to import: a machine without the driver need not ask it.
    if "torch" not in sys.modules and not Path("/proc/driver/nvidia/version").exists():
        return "cpu"
    return "cuda" if _gpus() else "cpu"


def check_device(name: str) -> None:
    """For the preflight: raise UserError, one line, for a device that is none, or not here."""
    if name not in DEVICES:
        raise UserError(f"--device is {', '.join(DEVICES[:-1])} or {DEVICES[-1]}, not {name}")
    if name == "cuda" and not _gpus():
        raise UserError("--device cuda: torch finds no CUDA device here; `curate doctor` says more")


def own_device(name: str) -> str:
    """As `resolve_device`, for one of the processes that torchrun started: each its own GPU, such as `cuda:1`. Raises
    UserError as `check_device` does, and where this machine has fewer GPUs than processes.
    """
    check_device(name)
    found, rank = resolve_device(name), os.environ.get("LOCAL_RANK")
    if found != "cuda" or rank is None:
        return found
    if int(rank) >= _gpus():
        raise UserError(f"process {rank} of this machine has no GPU of its own: start at most {_gpus()} with torchrun")
    return f"cuda:{rank}"


def _gpus() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
