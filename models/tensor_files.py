"""Tensors as one safetensors file."""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from clipmill.curate.common.files import beside

if TYPE_CHECKING:  # `models info` reads cards, and torch takes seconds to import
    import torch


def write_tensors(path: Path, tensors: Mapping[str, "torch.Tensor"], header: Mapping[str, str] | None = None) -> None:
    """Whole or not there, and synced to the disk before it returns. Raises OSError where the disk refuses."""
    from safetensors.torch import save_file

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with beside(path, synced=True) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # as the umask says; safetensors makes files that only their owner reads
        try:
            save_file(plain, str(temporary), None if header is None else dict(header))
        except SafetensorError as error:
            # It tells the system's number in its words alone; a full disk is known by the number.
            number = re.search(r"\(os error (\d+)\)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
        temporary.chmod(mode)


def tensors_sha256(tensors: Mapping[str, "torch.Tensor"]) -> str:
    """64 hex digits of names, dtypes, shapes and values."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
