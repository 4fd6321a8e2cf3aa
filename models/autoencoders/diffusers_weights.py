"""Weights of diffusers' `AutoencoderKL` (Stable Diffusion and its kin) as a `FrameAutoencoder`, and back. Needs files,
not diffusers.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from clipmill.curate.common.files import parse_json
from clipmill.curate.errors import UserError, first_line
from clipmill.models.autoencoders.frame import FrameAutoencoder, FrameConfig

CONFIG_FILE, WEIGHTS_FILE = "config.json", "diffusion_pytorch_model.safetensors"
_STATISTICS = ("latent_mean", "latent_std")
# In this order: what the first ones leave is what the later ones look for.
_NAMES = (
    (r"^moments\.", "quant_conv."),
    (r"^latents\.", "post_quant_conv."),
    (r"\.middle\.blocks\.0\.", ".mid_block.resnets.0."),
    (r"\.middle\.blocks\.1\.norm\.", ".mid_block.attentions.0.group_norm."),
    (r"\.middle\.blocks\.1\.attention\.output\.", ".mid_block.attentions.0.to_out.0."),
    (r"\.middle\.blocks\.1\.attention\.query_key_value\.", ".mid_block.attentions.0.to_{}."),
    (r"\.middle\.blocks\.[12]\.", ".mid_block.resnets.1."),
    (r"^encoder\.levels\.(\d+)\.resize\.convolution\.", r"encoder.down_blocks.\1.downsamplers.0.conv."),
    (r"^decoder\.levels\.(\d+)\.resize\.convolution\.", r"decoder.up_blocks.\1.upsamplers.0.conv."),
    (r"^encoder\.levels\.(\d+)\.blocks\.", r"encoder.down_blocks.\1.resnets."),
    (r"^decoder\.levels\.(\d+)\.blocks\.", r"decoder.up_blocks.\1.resnets."),
    (r"\.norm_in\.", ".norm1."),
    (r"\.norm_out\.", ".norm2."),
    (r"\.convolution_in\.", ".conv1."),
    (r"\.convolution_out\.", ".conv2."),
    (r"\.skip\.", ".conv_shortcut."),
    (r"coder\.input\.", "coder.conv_in."),
    (r"coder\.output\.norm\.", "coder.conv_norm_out."),
    (r"coder\.output\.convolution\.", "coder.conv_out."),
)
# As files from before diffusers 0.15 have them.
_OLD_NAMES = ((".query.", ".to_q."), (".key.", ".to_k."), (".value.", ".to_v."), (".proj_attn.", ".to_out.0."))


def load_diffusers(folder: Path, temporal_decoder: bool = False) -> FrameAutoencoder:
    """A folder with config.json and diffusion_pytorch_model.safetensors, in evaluation mode. latent_mean and latent_std
    follow the config's shift and scaling factor. Raises UserError, one line, where files are missing, broken or of
    another kind of autoencoder.
    """
    try:
        config = parse_json((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        tensors = load_file(str(folder / WEIGHTS_FILE))
    except (OSError, SafetensorError, ValueError) as error:
        needs = f"{CONFIG_FILE} and {WEIGHTS_FILE} of an AutoencoderKL"
        raise UserError(f"{folder} needs {needs}: {first_line(error)}") from error
    return from_diffusers(config, tensors, temporal_decoder).eval()


def from_diffusers(
    config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], temporal_decoder: bool = False
) -> FrameAutoencoder:
    """config: as in config.json; tensors: the state dict. Raises UserError for an autoencoder of another kind."""
    if config.get("_class_name", "AutoencoderKL") != "AutoencoderKL":
        raise UserError(f"weights of diffusers' {config['_class_name']} cannot be used, only those of AutoencoderKL")
    autoencoder = FrameAutoencoder(_shape(config, temporal_decoder))
    renamed = _with_new_names(tensors) | _identities(config, autoencoder)
    wanted = autoencoder.state_dict()
    images = {name for name in wanted if name not in _STATISTICS} - autoencoder.temporal_parameter_names()
    theirs = {name: _their_names(name) for name in images}
    unknown = set(renamed) ^ {their for names in theirs.values() for their in names}
    if unknown:
        raise UserError(
            f"these weights are not those of the AutoencoderKL that the config describes: {min(unknown)!r} is on one"
            " side only"
        )
    found = {name: torch.cat([renamed[their] for their in names]) for name, names in theirs.items()}
    for name, tensor in found.items():
        if tensor.numel() != wanted[name].numel():
            raise UserError(
                f"{theirs[name][0]!r} has shape {list(tensor.shape)}, the config says {list(wanted[name].shape)}"
            )
    autoencoder.load_state_dict(
        {name: tensor.reshape(wanted[name].shape) for name, tensor in found.items()}, strict=False
    )
    autoencoder.latent_mean.fill_(config.get("shift_factor") or 0.0)
    autoencoder.latent_std.fill_(1 / float(config.get("scaling_factor") or 1.0))
    return autoencoder


def to_diffusers(autoencoder: FrameAutoencoder) -> dict[str, torch.Tensor]:
    """The state dict for an `AutoencoderKL` of the same shape. Raises UserError for a temporal decoder, which it has no
    place for.
    """
    if autoencoder.temporal_parameter_names() or autoencoder.config.deterministic:
        raise UserError("AutoencoderKL has neither a temporal decoder nor a deterministic encoder")
    found: dict[str, torch.Tensor] = {}
    for name, tensor in autoencoder.state_dict().items():
        if name not in _STATISTICS:
            names = _their_names(name)
            found |= {their: part.clone() for their, part in zip(names, tensor.chunk(len(names)), strict=True)}
    return found


def _shape(config: Mapping[str, Any], temporal_decoder: bool) -> FrameConfig:
    try:
        return FrameConfig(
            latent_channels=int(config["latent_channels"]),
            widths=tuple(int(width) for width in config["block_out_channels"]),
            depth=int(config["layers_per_block"]),
            groups=int(config.get("norm_num_groups", 32)),
            attention=bool(config.get("mid_block_add_attention", True)),
            temporal_decoder=temporal_decoder,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the config of an AutoencoderKL is incomplete or wrong: {error}") from error


def _their_names(name: str) -> list[str]:
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return [name.format(part) for part in "qkv"] if "{}" in name else [name]


def _with_new_names(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    renamed = {}
    for name, tensor in tensors.items():
        for old, new in _OLD_NAMES:
            name = name.replace(old, new) if ".attentions." in name else name
        renamed[name] = tensor
    return renamed


def _identities(config: Mapping[str, Any], autoencoder: FrameAutoencoder) -> dict[str, torch.Tensor]:
    """For the 1 x 1 convolutions around the latents that some kin (Stable Diffusion 3) do without."""
    sides = (
        ("use_quant_conv", "quant_conv", autoencoder.moments),
        ("use_post_quant_conv", "post_quant_conv", autoencoder.latents),
    )
    found: dict[str, torch.Tensor] = {}
    for key, name, layer in sides:
        if not config.get(key, True):
            channels = layer.out_channels
            found |= {f"{name}.weight": torch.eye(channels)[:, :, None, None], f"{name}.bias": torch.zeros(channels)}
    return found
