"""Autoencoders by the names that presets write."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clipmill.curate.config import build
from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.base import VideoAutoencoder
from clipmill.models.autoencoders.causal import CausalAutoencoder, CausalConfig
from clipmill.models.autoencoders.frame import FrameAutoencoder, FrameConfig
from clipmill.models.autoencoders.pixels import Pixels, PixelsConfig


def autoencoder_named(kind: str, options: Mapping[str, Any], weights: Path | None = None) -> VideoAutoencoder:
    """pixels, frame or causal, with `options` as in its config class and weights as they are initialised from torch's
    random numbers; or the one that the file `weights` holds, options and all. Raises UserError for anything unknown,
    and for a file of another kind.
    """
    if weights is None:
        return made(kind, options)
    from clipmill.models.autoencoders.saving import load_autoencoder

    found = load_autoencoder(weights)
    if found.kind != kind:
        raise UserError(
            f"{weights} holds an autoencoder of kind {found.kind!r}, not {kind!r}: set autoencoder.kind={found.kind}"
        )
    return found


def made(kind: str, options: Mapping[str, Any], where: str = "autoencoder.options") -> VideoAutoencoder:
    """A new one. where: what error messages call the options."""
    if kind == Pixels.kind:
        return Pixels(build(PixelsConfig, options, where))
    if kind == FrameAutoencoder.kind:
        return FrameAutoencoder(build(FrameConfig, options, where))
    if kind == CausalAutoencoder.kind:
        return CausalAutoencoder(build(CausalConfig, options, where))
    kinds = [Pixels.kind, FrameAutoencoder.kind, CausalAutoencoder.kind]
    raise UserError(f"there is no autoencoder {kind!r}; there are {', '.join(kinds)}")


def options_of(autoencoder: VideoAutoencoder) -> dict[str, Any]:
    """Plain values from which `made` makes one of the same shape."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in asdict(autoencoder.config).items()
    }
