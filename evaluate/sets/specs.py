"""What names a set, made plain: a path, an array, a list of either."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from clipmill.curate.errors import UserError

Spec = str | Path | np.ndarray | list[Path] | list[np.ndarray]
KINDS = (
    "a folder of videos or of frame folders, a curate run, a manifest.parquet, a glob of videos or of tars, a .txt with"
    " a path a line, an .npy or .npz of uint8 videos"
)


def plain(spec: Any) -> Spec:
    """The set that a program names: a path, an array or tensor of videos, uint8 [N, T, H, W, 3] (a tensor also [N, T,
    3, H, W]), or a list of paths, or of videos [T, H, W, 3]. Raises UserError for anything else.
    """
    if isinstance(spec, str | Path | np.ndarray):
        return spec
    if isinstance(spec, os.PathLike):  # a run, samples
        return Path(os.fspath(spec))
    if hasattr(spec, "detach"):
        return _of_tensor(spec)
    if not isinstance(spec, Iterable):
        raise UserError(f"a set is {KINDS}, an array, or a list of paths or arrays, not a {type(spec).__name__}")
    items = [plain(item) for item in spec]
    paths = [Path(item) for item in items if isinstance(item, str | Path)]
    arrays = [video for item in items if isinstance(item, np.ndarray) for video in ([item] if item.ndim == 4 else item)]
    if not items:
        raise UserError("the list of videos is empty")
    if len(paths) == len(items):
        return paths
    if paths or any(isinstance(item, list) for item in items):
        raise UserError("a list is of paths or of arrays, uint8 [T, H, W, 3], not of both")
    return arrays


def named(spec: Spec | None) -> str:
    """How the set is called where it has no name of its own."""
    if spec is None:
        return ""
    if isinstance(spec, np.ndarray):
        return f"array {list(spec.shape)}"
    if isinstance(spec, list):
        return f"list of {len(spec)} {'arrays' if isinstance(spec[0], np.ndarray) else 'paths'}"
    return str(spec)


def _of_tensor(tensor: Any) -> np.ndarray:
    try:
        found = np.asarray(tensor.detach().cpu().numpy())
    except (TypeError, RuntimeError) as error:  # bfloat16, say
        raise UserError(f"videos are uint8, 0 to 255, not {str(tensor.dtype).removeprefix('torch.')}") from error
    channels_first = found.ndim >= 4 and found.shape[-1] != 3 and found.shape[-3] == 3
    return np.moveaxis(found, -3, -1) if channels_first else found
