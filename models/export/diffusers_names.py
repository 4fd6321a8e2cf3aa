"""Low-rank branches under the names of diffusers and peft: `to_q.lora_A.weight` and so on, in the blocks of Latte's
transformer (`LatteTransformer3DModel`) or of Stable Video Diffusion's U-Net (`UNetSpatioTemporalConditionModel`). Scale
1: alpha is the rank, which is what both take where a file says no alpha.
"""

import re
from collections.abc import Mapping

import torch

Halves = tuple[torch.Tensor, torch.Tensor]
_PARTS = {"query_key_value": ("to_q", "to_k", "to_v"), "query": ("to_q",), "key_value": ("to_k", "to_v")}
_LEAVES = _PARTS | {"output": ("to_out.0",)}
_OF_DIT = re.compile(r"backbone\.blocks\.(?P<kind>space|time)(?P<block>\d+)\.(?P<on>attention|cross)\.(?P<leaf>\w+)")
_OF_UNET = re.compile(
    r"backbone\.(?P<way>down|middle|up)\.(?P<at>[\d-]+)\.attention\.(?P<kind>space|time)(?P<block>\d+)\.(?:layers\.)?"
    r"(?P<on>attention|cross)\.(?P<leaf>\w+)"
)


def diffusers_tensors(branches: Mapping[str, Halves], levels: int) -> dict[str, torch.Tensor]:
    """branches: place of a projection (`clipmill.models.adapt.places`) -> A float [parts, rank, in] and B float [parts,
    out / parts, rank]. levels: of a U-Net. -> A [rank, in] and B [out / parts, rank] under their names.
    """
    made: dict[str, torch.Tensor] = {}
    for place, (down, up) in branches.items():
        module, leaf = _module(place, levels)
        for name, a, b in zip(_LEAVES[leaf], down, up, strict=True):
            made |= {f"{module}.{name}.lora_A.weight": a.clone(), f"{module}.{name}.lora_B.weight": b.clone()}
    return made


def _module(place: str, levels: int) -> tuple[str, str]:
    """Path of the attention, and the projection's own name."""
    found = _OF_DIT.fullmatch(place) or _OF_UNET.fullmatch(place)
    assert found is not None, place
    blocks = f"{'temporal_' if found['kind'] == 'time' else ''}transformer_blocks.{found['block']}"
    attention = f"{blocks}.{'attn1' if found['on'] == 'attention' else 'attn2'}"
    if found.re is _OF_DIT:
        return f"transformer.{attention}", found["leaf"]
    level, _, layer = found["at"].partition("-")
    ways = {"down": f"down_blocks.{level}", "middle": "mid_block", "up": f"up_blocks.{levels - 1 - int(level)}"}
    return f"unet.{ways[found['way']]}.attentions.{layer or found['at']}.{attention}", found["leaf"]
