"""Low-rank branches as one small file: tensors as safetensors, what they belong to as JSON in its header."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from clipmill.curate.common.files import parse_json
from clipmill.curate.common.log import Tell, say
from clipmill.curate.common.shapes import described
from clipmill.curate.errors import UserError, one_line
from clipmill.models.adapt.branches import LowRankLinear, branches_of, plain_tensors
from clipmill.models.adapt.places import places_of
from clipmill.models.export.diffusers_names import Halves, diffusers_tensors
from clipmill.models.generate.loading import Loaded, load
from clipmill.models.settings.learn import LORA, learn_of
from clipmill.models.tensor_files import tensors_sha256, write_tensors

_ENTRY, _FORMAT = "clipmill", 1
_SHAPE = {"format": int, "kind": str, "names": str, "base_sha256": str, "learn": str}


@dataclass(frozen=True)
class LoraFile:
    """path: of it. base_sha256: of the weights it was trained beside. halves: plain tensor -> A float [parts, rank, in]
    and B float [parts, out / parts, rank] of what is added to it.
    """

    path: Path
    base_sha256: str
    halves: dict[str, Halves]

    def change(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """What is added to a plain tensor, float [out, in]. Raises UserError, before any memory is asked for, where it
        has another shape.
        """
        down, up = self.halves[name]
        if (up.shape[0] * up.shape[1], down.shape[2]) != tensor.shape:
            raise UserError(f"{self.path} changes {name!r} in another shape: the file was changed, write it again")
        return torch.bmm(up.to(tensor), down.to(tensor)).flatten(0, 1)


def write_lora(
    checkpoint: Path,
    out: Path,
    diffusers: bool = False,
    step: int | None = None,
    average: float | None = None,
    tell: Tell = say,
) -> None:
    """The branches of a checkpoint, of the weights that `load` takes. diffusers: under that library's names. Raises
    UserError where there are none, and for a file that is there.
    """
    if out.exists() or out.suffix != ".safetensors":
        raise UserError(f"{out} {'exists' if out.exists() else 'does not end in .safetensors'}: choose another --out")
    loaded = load(checkpoint, step, average)
    branches = {n: layer for n, layer in branches_of(loaded.network).items() if isinstance(layer, LowRankLinear)}
    if not branches:
        raise UserError(f"{checkpoint} has no low-rank branches: train with train.init=CKPT and train.learn=lora:8")
    tensors = _by_place(loaded, branches) if diffusers else _by_name(branches)
    entry = {
        "format": _FORMAT,
        "kind": LORA,
        "names": "diffusers" if diffusers else "clipmill",
        "base_sha256": base_sha256(loaded),
        "learn": loaded.config.train.learn,
        "step": loaded.step,
        "average": loaded.average,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(out, tensors, {_ENTRY: json.dumps(entry, sort_keys=True), "format": "pt"})
    numbers = sum(tensor.numel() for tensor in tensors.values())
    tell(f"{len(branches)} branches, {numbers:,} numbers in {out}; beside the weights {base_sha256(loaded)[:12]}")


def base_sha256(loaded: Loaded) -> str:
    """Of the weights beside which low-rank branches of this checkpoint are, or would be, trained."""
    if learn_of(loaded.config.train.learn).kind == LORA:
        return str(loaded.card["base_sha256"])
    return tensors_sha256({f"network.{name}": tensor for name, tensor in plain_tensors(loaded.network).items()})


def read_lora(path: Path) -> LoraFile:
    """Raises UserError, one line, for a file that is missing, damaged, something else, or in other names."""
    try:
        with safe_open(str(path), "pt") as file:
            entry = parse_json((file.metadata() or {}).get(_ENTRY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"cannot read {path}: {one_line(error)}; write it again with `models lora`") from error
    if not isinstance(entry, dict) or entry.get("kind") != LORA or entry.get("format") != _FORMAT:
        raise UserError(f"{path} is no file of `models lora` of this version: write it again")
    found = described(entry, _SHAPE, str(path))
    if found["names"] != "clipmill":
        raise UserError(f"{path} is in the names of {found['names']}: write one without --diffusers")
    if not tensors:
        raise UserError(f"{path} holds no low-rank branch: write it again")
    return LoraFile(path, found["base_sha256"], _halves(path, tensors))


def _halves(path: Path, tensors: dict[str, torch.Tensor]) -> dict[str, Halves]:
    made = {}
    for name, down in tensors.items():
        layer, _, kind = name.rpartition(".")
        if kind == "lora_B" and f"{layer}.lora_A" in tensors:
            continue
        up = tensors.get(f"{layer}.lora_B")
        fits = up is not None and down.ndim == up.ndim == 3 and down.shape[:2] == (up.shape[0], up.shape[2])
        fits = fits and down.is_floating_point()
        if kind != "lora_A" or up is None or not fits:
            raise UserError(f"{path}: {name!r} is no half of a low-rank branch: the file was changed, write it again")
        made[f"{layer}.weight"] = down, up
    return made


def _by_name(branches: dict[str, LowRankLinear]) -> dict[str, torch.Tensor]:
    return {f"{n}.{half}": getattr(layer, half) for n, layer in branches.items() for half in ("lora_A", "lora_B")}


def _by_place(loaded: Loaded, branches: dict[str, LowRankLinear]) -> dict[str, torch.Tensor]:
    places = {name: place for place, name in places_of(loaded.network).items()}
    options: Any = loaded.network.get_submodule("backbone").config
    found = {
        places[f"{name}.lora_A"].removesuffix(".lora_A"): (layer.lora_A.detach(), layer.lora_B.detach())
        for name, layer in branches.items()
    }
    return diffusers_tensors(found, len(getattr(options, "multipliers", ())))
