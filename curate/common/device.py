"""Which device networks run on."""

import functools
from pathlib import Path

from clipmill.curate.errors import UserError

DEVICES = ("auto", "cpu", "cuda")


@functools.lru_cache(maxsize=4)
def resolve_device(name: str) -> str:
    """auto -> cuda where there is a usable GPU, else cpu. torch, slow to import, is asked only where a driver is
    loaded.
    """
    if name != "auto":
        return name
    if not Path("/proc/driver/nvidia/version").exists():
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(name: str) -> None:
    """For the preflight: raise UserError, one line, for a device that is none, or not here."""
    if name not in DEVICES:
        raise UserError(f"--device is auto, cpu or cuda, not {name}")
    if name != "cuda":
        return
    import torch

    if not torch.cuda.is_available():
        raise UserError("--device cuda: torch finds no CUDA device here; `curate doctor` says more")
