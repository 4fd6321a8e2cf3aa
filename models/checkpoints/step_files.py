"""Checkpoints: tensors as safetensors, facts as JSON, so that loading one never runs code. Whole or not there; the last
few are kept.

CKPT/card.json                  what this is: config, versions, data
CKPT/autoencoder.safetensors    the frozen autoencoder, where it is not just pixels
CKPT/base.safetensors           the weights that do not learn, where there are any
CKPT/init.json                  what came from `train.init`, what is new, what is missing
CKPT/log.jsonl                  telemetry
CKPT/steps/00001000/            weights.safetensors, average-0.050.safetensors, optimiser.safetensors, state.json and
                                clips.parquet
CKPT/snapshots/                 averages for other widths afterwards
"""

import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from clipmill.curate.common.files import beside, read_json, write_table, write_text
from clipmill.curate.common.shapes import described
from clipmill.curate.errors import UserError, one_line
from clipmill.models.tensor_files import tensors_sha256, write_tensors

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

BASE, INIT = "base.safetensors", "init.json"
STATE, WEIGHTS, OPTIMISER, CLIPS = "state.json", "weights.safetensors", "optimiser.safetensors", "clips.parquet"

_CARD = {
    "config": {"name": str, "about": str, "autoencoder": {"kind": str}, "train": {"steps": int}},
    "versions": {"clipmill": str, "torch": str},
    "autoencoder_sha256": str,
    "run": str,
    "manifest_sha256": str,
    "clips_sha256": str,
    "shards": {str: str},
    "buckets": [{"shape": str, "clips": int, "batch": int}],
    "left_out": {str: int},
    "kept": {str: float},
    "parameters": int,
    "fps": float,
    "frozen": int,
    "base_sha256": str,
    "init": {"checkpoint": str, "step": int, "average": float},
    "merged": {"checkpoint": str, "step": int, "average": float, "loras": [str], "base_sha256": str},
}
_STATE = {"step": int, "seconds": float, "skipped": int, "failed": {str: str}, "clips_sha256": str}


def average_file(std: float) -> str:
    """Of the average of relative width `std`."""
    return f"average-{std:.3f}.safetensors"


def steps_folder(root: Path) -> Path:
    """Where the folders of the steps lie; it need not be there yet."""
    return root / "steps"


def saved_steps(root: Path) -> list[int]:
    """Steps of the complete checkpoints, rising."""
    folder = steps_folder(root)
    return (
        sorted(int(p.name) for p in folder.glob("[0-9]*") if p.name.isdigit() and (p / STATE).is_file())
        if folder.is_dir()
        else []
    )


def step_folder(root: Path, step: int) -> Path:
    """Of one step, whether it was written or not."""
    return steps_folder(root) / f"{step:08d}"


def write_step(
    root: Path,
    step: int,
    files: Mapping[str, Mapping[str, "torch.Tensor"]],
    seen: "pa.Table",
    state: Mapping[str, Any],
    keep: int,
) -> Path:
    """files: name -> tensors. seen: clips.parquet. The folder gets its name when all of it is on the disk; then the
    oldest beyond `keep` go. A step that is there whole stays as it is: it never has no folder.
    """
    final = step_folder(root, step)
    if damage(final, list(files)) is not None:
        with beside(final, synced=True) as temporary:
            temporary.mkdir(parents=True)
            for name, tensors in files.items():
                write_tensors(temporary / name, tensors)
            write_table(temporary / CLIPS, seen)
            write_text(temporary / STATE, json.dumps(state, indent=1), synced=True)
            if final.exists():
                shutil.rmtree(final)
    for old in saved_steps(root)[:-keep]:
        shutil.rmtree(step_folder(root, old))
    return final


def damage(folder: Path, names: Collection[str]) -> str | None:
    """What is wrong with the folder of a step that should hold these files of tensors and its state; None where
    nothing is. Lengths and heads are looked at, not all bytes.
    """
    try:
        read_state(folder)
    except UserError as error:
        return str(error)
    for name in names:
        try:
            with safe_open(str(folder / name), "pt"):
                pass
        except (OSError, SafetensorError, ValueError) as error:
            return f"cannot read {folder / name}: {one_line(error)}"
    return None


def read_card(root: Path) -> dict[str, Any]:
    """Raises UserError where the folder is no checkpoint."""
    if not (root / "card.json").is_file():
        raise UserError(f"{root} is no checkpoint of `models train`: it has no card.json")
    return described(read_json(root / "card.json"), _CARD, str(root / "card.json"))


def read_state(folder: Path) -> dict[str, Any]:
    """Of a step: how far it is. Raises UserError where it cannot be read or is none."""
    return described(read_json(folder / STATE), _STATE, str(folder / STATE))


def remove_partial(root: Path) -> None:
    """What a killed process left half-written."""
    for path in steps_folder(root).glob("*.tmp"):
        shutil.rmtree(path, ignore_errors=True)


def load_tensors(path: Path) -> dict[str, "torch.Tensor"]:
    """On the CPU. Raises UserError, one line, where the file is missing or broken."""
    from safetensors.torch import load_file

    try:
        return load_file(str(path))
    except (OSError, SafetensorError, ValueError) as error:
        raise unreadable(path, error) from error


def load_base(root: Path, card: Mapping[str, Any]) -> dict[str, "torch.Tensor"]:
    """The weights that did not learn, by the names that step files would have; empty where all did. Raises UserError
    where they are not those that the training began with.
    """
    expected = card.get("base_sha256", "")
    if not expected:
        return {}
    found = load_tensors(root / BASE)
    if tensors_sha256(found) != expected:
        raise UserError(f"{root / BASE} holds other weights than the training began with: copy the checkpoint again")
    return found


def unreadable(path: Path, error: Exception) -> UserError:
    """The line for a file of weights."""
    return UserError(f"cannot read {path}: {one_line(error)}; take an earlier step, or copy the checkpoint again")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Atomically, and synced."""
    write_text(path, json.dumps(content, indent=1, sort_keys=True), synced=True)


def fitting(tensors: Mapping[str, "torch.Tensor"], wanted: Mapping[str, "torch.Tensor"], what: str) -> None:
    """Raises UserError where names or shapes differ."""
    missing, extra = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    if missing or extra:
        name, side = (missing[0], "has no") if missing else (extra[0], "has an unknown")
        raise UserError(f"{what} {side} tensor {name!r}: it is of another model")
    for name, tensor in wanted.items():
        if tensor.shape != tensors[name].shape:
            raise UserError(
                f"{what}: {name!r} has shape {list(tensors[name].shape)}, the model {list(tensor.shape)}: it is of"
                " another size"
            )
