"""The autoencoder that a diffusion model is trained on, frozen: from its own checkpoint, or from the model's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from clipmill.curate.common.settings import build
from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.base import VideoAutoencoder
from clipmill.models.autoencoders.by_name import new_autoencoder
from clipmill.models.autoencoders.frame import FrameAutoencoder
from clipmill.models.autoencoders.saving import load_autoencoder
from clipmill.models.autoencoders.volume import VolumeAutoencoder, VolumeConfig
from clipmill.models.config import AutoencoderConfig, ModelConfig

FILE = "autoencoder.safetensors"
_PRESETS = {"causal": "causal-autoencoder", "volume": "lvdm-autoencoder"}


def autoencoder_of(config: AutoencoderConfig, device: torch.device) -> VideoAutoencoder:
    """Raises UserError where the config names none that can be used, saying how to get one."""
    if config.weights is None:
        if config.kind not in ("pixels", "embedding"):
            name = _PRESETS.get(config.kind, "frame-autoencoder")
            raise UserError(
                f"this preset works on the latents of a trained autoencoder ({config.kind}): train one with `models"
                f" train RUN --config {name} --out AE`, then add --set autoencoder.weights=AE"
            )
        return frozen(autoencoder_named(config.kind, config.options), device)
    path = weights_file(config)
    assert path is not None
    found = load_autoencoder(path)
    if isinstance(found, VolumeAutoencoder):  # whatever it was trained or used for
        chosen = {name: value for name, value in config.options.items() if name == "every"}
        found = found.with_every(build(VolumeConfig, chosen, "autoencoder.options").every)
    return frozen(found, device)


def weights_file(config: AutoencoderConfig) -> Path | None:
    """The file that `autoencoder.weights` means: itself, or that of a checkpoint folder."""
    if config.weights is None:
        return None
    path = Path(config.weights)
    return path / FILE if path.is_dir() else path


def checkpoint_autoencoder(root: Path) -> VideoAutoencoder:
    """The one that a checkpoint carries, on the CPU."""
    return frozen(load_autoencoder(root / FILE), torch.device("cpu"))


def frozen(autoencoder: VideoAutoencoder, device: torch.device) -> VideoAutoencoder:
    """The autoencoder itself, moved to `device`, in eval() and with parameters that take no gradient."""
    return autoencoder.to(device).eval().requires_grad_(False)


def autoencoder_named(kind: str, options: Mapping[str, Any], weights: Path | None = None) -> VideoAutoencoder:
    """pixels, frame, causal or volume, with `options` as in its config class and weights as they are initialised from
    torch's random numbers; or the one that the file `weights` holds, options and all. Raises UserError for anything
    unknown, and for a file of another kind.
    """
    if weights is None:
        return new_autoencoder(kind, options)
    from clipmill.models.autoencoders.saving import load_autoencoder

    found = load_autoencoder(weights)
    if found.kind != kind:
        raise UserError(
            f"{weights} holds an autoencoder of kind {found.kind!r}, not {kind!r}: set autoencoder.kind={found.kind}"
        )
    return found


def first_autoencoder(config: ModelConfig) -> VideoAutoencoder:
    """What a training begins with: the file `autoencoder.weights`, to go on with; else weights that depend on
    `train.seed` alone. An image autoencoder of which only the decoder's layers along time are to be trained gets them;
    raises UserError where there is none.
    """
    chosen, decoder_only = config.autoencoder, bool(config.autoencoder_loss.get("decoder_only"))
    if decoder_only and chosen.weights is None:
        raise UserError(
            "autoencoder_loss.decoder_only trains the decoder's layers along time and nothing else: set"
            " autoencoder.weights to an autoencoder that was trained on pictures"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        autoencoder = autoencoder_named(chosen.kind, chosen.options, weights_file(chosen))
        if decoder_only and isinstance(autoencoder, FrameAutoencoder) and not autoencoder.config.temporal_decoder:
            autoencoder = autoencoder.with_temporal_decoder()
    return autoencoder.train()
