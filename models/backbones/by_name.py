"""Networks and attention plans under the names that presets write."""

import re
from collections.abc import Mapping
from typing import Any

from torch import nn

from clipmill.curate.common.settings import build
from clipmill.curate.errors import UserError
from clipmill.models.backbones.contract import Backbone
from clipmill.models.backbones.controlled import ControlledUNet
from clipmill.models.backbones.dit import DiT, DiTConfig
from clipmill.models.backbones.joint import JointDiT
from clipmill.models.backbones.unet import UNet, UNetConfig
from clipmill.models.layers.plan import AttentionPlan

_WINDOW = re.compile(r"window (\d+)x(\d+)x(\d+)")


def backbone_named(kind: str, options: Mapping[str, Any]) -> nn.Module:
    """dit or unet; options: the fields of `DiTConfig` or `UNetConfig`, attention plans by name. Raises UserError for
    anything unknown.
    """
    if kind == "dit":
        chosen = build(DiTConfig, _with_plans(options, ("plans",)), "backbone.options")
        return JointDiT(chosen) if chosen.text == "joint" else DiT(chosen)
    if kind == "unet":
        config = build(UNetConfig, _with_plans(options, ("plans", "middle_plans")), "backbone.options")
        return ControlledUNet(config) if config.control else UNet(config)
    raise UserError(f"there is no backbone {kind!r}; there are dit, unet")


def as_backbone(module: nn.Module) -> Backbone:
    """The same, for the type checker: every network of `backbone_named` keeps the contract."""
    return module  # type: ignore[return-value]


def plan_named(name: str) -> AttentionPlan:
    """spatial, temporal, full, previous or diagonal, each also with `causal ` before it; `first` for the first frame's
    pixels; `window TxHxW` (0 for a whole axis). Raises UserError for another.
    """
    reach = name.removeprefix("causal ")
    causal = reach != name
    window = _WINDOW.fullmatch(reach)
    if window:
        return AttentionPlan("window", causal, (int(window[1]), int(window[2]), int(window[3])))
    if reach == "first":
        return AttentionPlan("frames", causal, key_frames=(0,))
    if reach not in ("spatial", "temporal", "full", "previous", "diagonal"):
        raise UserError(
            f"there is no attention plan {name!r}; there are spatial, temporal, full, previous, diagonal, first,"
            " 'window TxHxW'"
        )
    return AttentionPlan(reach, causal)  # type: ignore[arg-type]


def _with_plans(options: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: _plans(value) if key in keys else value for key, value in options.items()}


def _plans(value: Any) -> Any:
    """Names, or lists of them, one per level, as plans."""
    if isinstance(value, list | tuple):
        return [_plans(item) for item in value]
    return plan_named(value) if isinstance(value, str) else value
