"""Autoencoders by the names that presets write."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from clipmill.curate.common.settings import build
from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.base import LATER, VideoAutoencoder
from clipmill.models.autoencoders.causal import CausalAutoencoder, CausalConfig
from clipmill.models.autoencoders.embedding import EmbeddingConfig, PictureEmbedding
from clipmill.models.autoencoders.frame import FrameAutoencoder, FrameConfig
from clipmill.models.autoencoders.pixels import Pixels, PixelsConfig
from clipmill.models.autoencoders.volume import VolumeAutoencoder, VolumeConfig


def new_autoencoder(kind: str, options: Mapping[str, Any], where: str = "autoencoder.options") -> VideoAutoencoder:
    """A new one. where: what error messages call the options."""
    if kind == Pixels.kind:
        return Pixels(build(PixelsConfig, options, where))
    if kind == FrameAutoencoder.kind:
        return FrameAutoencoder(build(FrameConfig, options, where))
    if kind == CausalAutoencoder.kind:
        return CausalAutoencoder(build(CausalConfig, options, where))
    if kind == PictureEmbedding.kind:
        return PictureEmbedding(build(EmbeddingConfig, options, where))
    if kind == VolumeAutoencoder.kind:
        return VolumeAutoencoder(build(VolumeConfig, options, where))
    learned = [FrameAutoencoder.kind, CausalAutoencoder.kind, VolumeAutoencoder.kind]
    kinds = [Pixels.kind, *learned, PictureEmbedding.kind]
    raise UserError(f"there is no autoencoder {kind!r}; there are {', '.join(kinds)}")


def options_of(autoencoder: VideoAutoencoder) -> dict[str, Any]:
    """Plain values from which `new_autoencoder` makes one of the same shape; see `LATER`."""
    values = {f: getattr(autoencoder.config, f.name) for f in fields(autoencoder.config)}
    return {
        f.name: list(value) if isinstance(value, tuple) else value
        for f, value in values.items()
        if not (f.metadata == LATER and value == f.default)
    }
