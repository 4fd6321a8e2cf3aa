"""Autoencoders as one file: tensors as safetensors, kind, options and facts as JSON in its header. Reading one runs no
code.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from clipmill.curate.common.files import parse_json
from clipmill.curate.common.settings import table_of
from clipmill.curate.errors import UserError, one_line
from clipmill.models.autoencoders.base import VideoAutoencoder
from clipmill.models.autoencoders.by_name import new_autoencoder, options_of
from clipmill.models.network_size import check_claims
from clipmill.models.tensor_files import write_tensors

_ENTRY = "clipmill"
_FORMAT = 1
# Options that parts are made by, one after another.
_PARTS = {"width", "widths", "depth", "multipliers", "components"}
# They say how latents are scaled afterwards, not what they are: measuring them must not make a cache of latents
# useless.
_STATISTICS = ("latent_mean", "latent_std")


def save_autoencoder(path: Path, autoencoder: VideoAutoencoder, facts: Mapping[str, Any] | None = None) -> None:
    """Whole or not there at all. facts: plain values for whoever reads the file, such as what it was trained on."""
    entry = {
        "format": _FORMAT,
        "kind": autoencoder.kind,
        "options": options_of(autoencoder),
        "facts": dict(facts or {}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, autoencoder.state_dict(), {_ENTRY: json.dumps(entry, sort_keys=True)})


def load_autoencoder(path: Path) -> VideoAutoencoder:
    """On the CPU, in evaluation mode. Raises UserError, one line, for a file that is missing, cut short, of something
    else or of another shape than its options say.
    """
    entry, tensors = _read(path)
    claims = table_of(entry["options"], f"{path}: options")
    sizes = [tuple(tensor.shape) for tensor in tensors.values()]
    check_claims({name: claims[name] for name in _PARTS & set(claims)}, sizes, str(path))
    with torch.device("meta"):
        autoencoder = new_autoencoder(str(entry["kind"]), entry["options"], f"{path}: options")
    wanted = autoencoder.state_dict()
    for name in sorted(wanted.keys() ^ tensors.keys()):
        raise UserError(
            f"{path} {'lacks' if name in wanted else 'has an unknown'} tensor {name!r}: it was written by another"
            " version"
        )
    for name, tensor in wanted.items():
        if tensor.shape != tensors[name].shape:
            shapes = f"{list(tensors[name].shape)}, its options say {list(tensor.shape)}"
            raise UserError(f"{path}: tensor {name!r} has shape {shapes}: the file was changed, copy it again")
    autoencoder.load_state_dict({name: tensors[name].to(tensor.dtype) for name, tensor in wanted.items()}, assign=True)
    return autoencoder.eval()


def read_facts(path: Path) -> dict[str, Any]:
    """What `save_autoencoder` was told. Raises UserError likewise."""
    return dict(_read(path)[0]["facts"])


def weights_sha256(autoencoder: VideoAutoencoder) -> str:
    """64 hex digits of kind, options and tensors, but for the statistics of the latents: equal means that videos have
    equal latents, for the keys of caches.
    """
    digest = hashlib.sha256(json.dumps([autoencoder.kind, options_of(autoencoder)], sort_keys=True).encode())
    for name, tensor in sorted(autoencoder.state_dict().items()):
        if name not in _STATISTICS:
            digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        with safe_open(str(path), "pt") as file:
            entry = parse_json((file.metadata() or {}).get(_ENTRY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"cannot read the autoencoder {path}: {one_line(error)}; copy or train it again") from error
    if (
        not isinstance(entry, dict)
        or entry.get("format") != _FORMAT
        or not {"kind", "options", "facts"} <= entry.keys()
    ):
        raise UserError(
            f"{path} is no autoencoder that this version of clipmill wrote: save one with `models train`, or convert it"
        )
    return entry, tensors
