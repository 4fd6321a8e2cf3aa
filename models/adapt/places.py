"""Where a tensor stands in a network, said in words that do not depend on what else is there: blocks that see pixels
and blocks along time are counted apart, so that an image model's tensors and a video model's have the same places.
"""

from collections import Counter

from torch import nn

from clipmill.models.backbones.dit import DiT
from clipmill.models.backbones.unet import UNet
from clipmill.models.backbones.unet_layers import SpaceTransformer
from clipmill.models.layers.convolution import PseudoConvolution
from clipmill.models.layers.temporal import TemporalTransformer


def places_of(network: nn.Module) -> dict[str, str]:
    """Place of every parameter -> its name."""
    renamed: dict[str, str] = {}
    for path, module in network.named_modules():
        for name, place in _renamed(module).items():
            renamed[f"{path}.{name}" if path else name] = place
    return {_place(name, renamed): name for name, _ in network.named_parameters()}


def _place(name: str, renamed: dict[str, str]) -> str:
    parts = name.split(".")
    found = [renamed.get(".".join(parts[: k + 1]), part) for k, part in enumerate(parts)]
    return ".".join(part for part in found if part)


def _renamed(module: nn.Module) -> dict[str, str]:
    """What parts of a module are called whose own names depend on other parts."""
    if isinstance(module, DiT):
        return _blocks(module)
    if isinstance(module, UNet):
        return _levels(module)
    if isinstance(module, SpaceTransformer | TemporalTransformer):
        there = (
            "attention",
            *(("cross",) if module.cross else ()),
            *(("feed_forward",) if module.feed_forward else ()),
        )
        return {f"norms.{k}": name for k, name in enumerate(there)}
    return {"space": ""} if isinstance(module, PseudoConvolution) else {}


def _blocks(dit: DiT) -> dict[str, str]:
    counts: Counter[str] = Counter()
    found = {}
    for index, plan in enumerate(dit.plans):
        kind = "space" if plan.mixes_pixels or not plan.mixes_frames else "time"
        found[f"blocks.{index}"] = f"{kind}{counts[kind]}"
        counts[kind] += 1
    return found


def _levels(unet: UNet) -> dict[str, str]:
    """Layers and resampling by their level, counted from the finest."""
    depth, levels = unet.config.depth, len(unet.config.multipliers)
    found = {f"down.{k}": f"{k // depth}-{k % depth}" for k in range(len(unet.down))}
    found |= {f"up.{k}": f"{levels - 1 - k // (depth + 1)}-{k % (depth + 1)}" for k in range(len(unet.up))}
    return found | {f"upsample.{k}": str(levels - 1 - k) for k in range(len(unet.upsample))}
