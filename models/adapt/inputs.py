"""Which inputs the columns of a layer's weights stand for, so that a layer with more inputs takes over those it
knows.
"""

from collections.abc import Sequence

import torch

from clipmill.models.config import ModelConfig

Segments = Sequence[tuple[str, int]]


def latent_segments(config: ModelConfig, latent_channels: int, frame_channels: int) -> Segments:
    """Of the first layer: what it reads and how many channels of it. latent_channels: its own estimate among them."""
    frames = config.conditioning.frames
    meanings = {"low": "low", "structure": f"structure {frames.structure}"}
    meaning = meanings.get(frames.given, frames.layout)
    own = latent_channels // 2 if config.diffusion.self_conditioning else 0
    latents = [("latents", latent_channels - own), ("own estimate", own)]
    return [*latents, (f"frames: {meaning}", frame_channels)]


def vector_segments(config: ModelConfig, vector_dim: int) -> Segments:
    """Of the layer that reads the vector of a sample."""
    conditioning = config.conditioning
    found = [("classes", conditioning.classes.dim)] if conditioning.classes.names else []
    numbers = [*conditioning.micro.columns, *(["noise on given frames"] if conditioning.frames.perturbed else [])]
    meanings = {"fps": f"fps {conditioning.micro.fps_offset:+g}"}
    found += [(f"number {meanings.get(name, name)}", conditioning.micro.dim) for name in numbers]
    reference = conditioning.reference
    rest = vector_dim - sum(width for _, width in found)
    return [*found, (f"reference {reference.encoder} {reference.network}", rest)]


def known_columns(
    new: tuple[Segments, torch.Tensor], old: tuple[Segments, torch.Tensor], axis: int
) -> tuple[torch.Tensor, bool] | None:
    """Weights of the new one's shape that read what the old ones read along `axis`, zeros for what these do not know;
    and whether they know all of it. None where other axes differ, or nothing is read by both.
    """
    (wanted, target), (there, source) = new, old
    shapes = [[side for k, side in enumerate(tensor.shape) if k != axis] for tensor in (target, source)]
    if shapes[0] != shapes[1]:
        return None
    known = dict(zip([part for part in there if part[1]], source.split([w for _, w in there if w], axis), strict=True))
    parts = [part for part in wanted if part[1]]
    if not known.keys() & set(parts):
        return None
    zeros = target.new_zeros(()).expand_as(target)
    columns = [known.get(part, zeros.narrow(axis, 0, part[1])) for part in parts]
    return torch.cat(columns, dim=axis), all(part in known for part in parts)
