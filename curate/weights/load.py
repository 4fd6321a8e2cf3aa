"""Reading weights without running anything that a file brings: safetensors, or torch's reader of plain tensors."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipmill.curate.errors import UserError, one_line

if TYPE_CHECKING:
    from torch import Tensor


def load_state(path: Path) -> "dict[str, Tensor]":
    """Name -> tensor on the CPU, of a safetensors file (told by its suffix) or a file of `torch.save`; a `state_dict`
    inside is taken out.

    Raises UserError, one line, for a file that is damaged, is no such file (a saved web page, say), or brings code.
    """
    state = _read(path)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if (
        not isinstance(state, dict)
        or not state
        or not all(hasattr(value, "dtype") and hasattr(value, "shape") for value in state.values())
    ):
        raise UserError(f"{path} holds no tensors by name")
    return {str(name): value for name, value in state.items()}


def _read(path: Path) -> Any:
    import torch
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: {one_line(error)}") from None
    except Exception as error:  # a damaged file makes the readers fail in any way
        raise UserError(f"{path} cannot be read as weights: {_reason(path, error)}") from None


def _reason(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        start = file.read(64).lstrip().lower()
    if not start:
        return "it is empty"
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page, saved in place of the file"
    if start.startswith(b"version https://git-lfs"):
        return "it is a git-lfs pointer, not the file"
    if "weights only" in str(error).lower() or "weights_only" in str(error):
        return "it holds more than tensors, or is damaged; nothing of it was run"
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]
