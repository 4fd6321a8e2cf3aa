"""Options of small trainings, and what a checkpoint holds."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

NANO = ("--config", "demo-nano", "--device", "cpu")
EACH_STEP = ("--set", "train.log_every=1", "--set", "train.validate_every=0")
# An odd number of clips, for two processes.
EVALUATED = ("--set", "train.validate_every=5", "--set", "train.validation_clips=3", "--set", "train.preview_every=10")


def losses(checkpoint: Path) -> list[float]:
    return [row["loss"] for row in log(checkpoint) if "loss" in row]


def validations(checkpoint: Path) -> list[dict]:
    return [row for row in log(checkpoint) if "validation_loss" in row]


def log(checkpoint: Path) -> list[dict]:
    return [json.loads(line) for line in (checkpoint / "log.jsonl").read_text().splitlines()]


def tensors(checkpoint: Path, step: int) -> dict[str, torch.Tensor]:
    folder = checkpoint / "steps" / f"{step:08d}"
    return {
        f"{path.name}/{name}": t for path in sorted(folder.glob("*.safetensors")) for name, t in load_file(path).items()
    }
