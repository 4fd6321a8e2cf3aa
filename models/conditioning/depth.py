"""Depth of a video by a network of transformers whose weights are on this machine."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from clipmill.curate.errors import UserError, first_line
from clipmill.models.conditioning.text.hub import model_folder

_SETTING = "conditioning.frames.depth_model"
_FILES = ("*.json", "*.safetensors")


def depth_folder(model: str) -> Path:
    """Where its files are on this machine. Raises UserError where they are neither here nor to be had."""
    return model_folder(model, _FILES, _SETTING)


@torch.no_grad()
def depth(model: str, video: torch.Tensor) -> torch.Tensor:
    """float [B, T, 3, H, W] in [-1, 1] -> what the network says of each frame, alike in the three colours, stretched to
    -1 ... 1 over each video; -1 where it says the same everywhere. Raises UserError where it is not to be had.
    """
    prepare, network = _loaded(depth_folder(model), str(video.device))
    frames = ((video.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).flatten(0, 1).cpu()
    ready = prepare(images=list(frames.permute(0, 2, 3, 1).numpy()), return_tensors="pt")["pixel_values"]
    found = torch.cat([network(part.to(video.device)).predicted_depth.float() for part in ready.split(video.shape[1])])
    large = F.interpolate(found[:, None], size=video.shape[3:], mode="bilinear", align_corners=False)
    return stretched(large.unflatten(0, video.shape[:2]).expand_as(video)).to(video)


def stretched(values: torch.Tensor) -> torch.Tensor:
    """float [B, ...] -> from -1 at the least to 1 at the most of each sample; -1 where they are all the same."""
    flat = values.flatten(1)
    least, most = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    span = most - least
    return (2 * (flat - least) / torch.where(span > 0, span, 1.0) - 1).reshape(values.shape)


@lru_cache(maxsize=1)
def _loaded(folder: Path, device: str) -> tuple[Any, Any]:
    """(what prepares pictures, network), read once per process."""
    try:
        from transformers import AutoImageProcessor, AutoModelForDepthEstimation
    except ImportError:
        raise UserError("depth needs transformers: pip install transformers") from None
    # Without the second, transformers asks at the terminal whether it may run the folder's code.
    safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        prepare = AutoImageProcessor.from_pretrained(folder, **safe)
        loaded: Any = AutoModelForDepthEstimation.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, **safe
        )
    except Exception as error:  # damaged files make the readers fail in any way
        raise UserError(
            f"no network that estimates depth can be loaded from {folder}: {first_line(error, 200)}"
        ) from None
    network, report = loaded
    if report["missing_keys"]:
        raise UserError(f"{folder} holds no whole network: {min(report['missing_keys'])} is missing")
    return prepare, network.eval().requires_grad_(False).float().to(device)
