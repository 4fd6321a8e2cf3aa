"""A checkpoint whose branches, and those of files, are part of its weights: plain, whole by itself, to sample from and
to begin with.
"""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from clipmill.curate.common.files import beside
from clipmill.curate.common.log import Tell, say
from clipmill.curate.errors import UserError
from clipmill.models.adapt.branches import plain_tensors
from clipmill.models.autoencoder_for import FILE
from clipmill.models.checkpoints import step_files
from clipmill.models.checkpoints.conditions import TRAINED_ON
from clipmill.models.config import ModelConfig
from clipmill.models.export.lora_files import LoraFile, base_sha256, read_lora
from clipmill.models.generate.loading import Loaded, load
from clipmill.models.settings.learn import ALL

_GONE = ("base_sha256", "frozen", "init", "before")


def merge(
    checkpoint: Path,
    loras: Sequence[Path],
    out: Path,
    step: int | None = None,
    average: float | None = None,
    tell: Tell = say,
) -> None:
    """One set of weights, those that `load` takes, with its own branches and those of the files added. Raises UserError
    where there is nothing to merge, for a file that belongs to other weights, and for a folder that is there.
    """
    if out.exists():
        raise UserError(f"{out} exists: choose another --out")
    loaded = load(checkpoint, step, average)
    if loaded.config.train.learn == ALL and not loras:
        raise UserError(f"{checkpoint} has no branches of its own, and there is nothing to merge: give --lora FILE")
    files = [read_lora(path) for path in loras]
    tensors = plain_tensors(loaded.network)
    for file in files:
        _add(tensors, file, base_sha256(loaded), checkpoint)
    config = _plain_config(loaded)
    with beside(out, synced=True) as folder:
        folder.mkdir(parents=True)
        _write(folder, loaded, config, {f"network.{name}": tensor for name, tensor in tensors.items()}, files)
    own = [f"what it learned ({loaded.config.train.learn})"] if loaded.config.train.learn != ALL else []
    tell(f"{checkpoint} with {' and '.join([*own, *(str(file.path) for file in files)])} merged: {out}")


def _add(tensors: dict[str, torch.Tensor], file: LoraFile, base: str, checkpoint: Path) -> None:
    if file.base_sha256 != base:
        raise UserError(
            f"{file.path} was trained beside the weights {file.base_sha256[:12]}, and those of {checkpoint} are"
            f" {base[:12]}: give the checkpoint that train.init named"
        )
    for name in file.halves:
        if name not in tensors:
            raise UserError(f"{file.path} changes {name!r}, which {checkpoint} has not: write it again")
        tensors[name] = tensors[name] + file.change(name, tensors[name])


def _plain_config(loaded: Loaded) -> ModelConfig:
    """All of it would learn; one average is kept, the same as the weights."""
    train = loaded.config.train
    return replace(loaded.config, train=replace(train, init=None, learn=ALL, ema_std=train.ema_std[:1]))


def _write(
    folder: Path, loaded: Loaded, config: ModelConfig, tensors: dict[str, torch.Tensor], files: Sequence[LoraFile]
) -> None:
    old = step_files.step_folder(loaded.root, loaded.step)
    average = step_files.average_file(config.train.ema_std[0])
    shutil.copyfile(loaded.root / FILE, folder / FILE)
    if (loaded.root / TRAINED_ON).is_file():
        shutil.copyfile(loaded.root / TRAINED_ON, folder / TRAINED_ON)
    step_files.write_step(
        folder,
        loaded.step,
        {step_files.WEIGHTS: tensors, average: tensors},
        pq.read_table(old / step_files.CLIPS),
        step_files.read_state(old),
        1,
    )
    step_files.write_json(folder / "card.json", _card(loaded, config, tensors, files))


def _card(
    loaded: Loaded, config: ModelConfig, tensors: dict[str, torch.Tensor], files: Sequence[LoraFile]
) -> dict[str, Any]:
    merged = {
        "checkpoint": str(loaded.root),
        "step": loaded.step,
        "average": loaded.average,
        "loras": [str(file.path) for file in files],
        "base_sha256": base_sha256(loaded),
    }
    kept = {name: value for name, value in loaded.card.items() if name not in _GONE}
    numbers = sum(tensor.numel() for tensor in tensors.values())
    return kept | {"config": config.as_dict(), "parameters": numbers, "merged": merged}
