"""I3D variables under the names and in the layout of the torch ports."""

import numpy as np
import torch

from clipmill.evaluate.networks.i3d_weights import Known, tensor_crc32c


def table_of(variables):
    """What the published table would be if these variables were the published ones."""
    return {name: Known(values.shape, tensor_crc32c(values)) for name, values in variables.items()}


def as_pytorch_i3d(variables):
    """The state dict of the i3d_pretrained_400.pt family: torch layout, scales of one, step counters."""
    return _as_state(variables, _pytorch_i3d_unit, "bn")


def as_kinetics_port(variables):
    """The other family of names, as in kinetics_i3d_pytorch."""
    return _as_state(variables, _kinetics_port_unit, "batch3d")


def _as_state(variables, unit_name, norm):
    kinds = {
        "conv_3d/w": "conv3d.weight",
        "conv_3d/b": "conv3d.bias",
        "batch_norm/beta": f"{norm}.bias",
        "batch_norm/moving_mean": f"{norm}.running_mean",
        "batch_norm/moving_variance": f"{norm}.running_var",
    }
    state = {}
    for name, values in variables.items():
        unit, layer, part = name.rsplit("/", 2)
        turned = values.transpose(4, 3, 0, 1, 2) if values.ndim == 5 else values
        state[f"{unit_name(unit)}.{kinds[f'{layer}/{part}']}"] = torch.from_numpy(np.ascontiguousarray(turned))
        if part == "beta":
            state[f"{unit_name(unit)}.{norm}.weight"] = torch.ones(len(values))
            state[f"{unit_name(unit)}.{norm}.num_batches_tracked"] = torch.tensor(7)
    return state


def _pytorch_i3d_unit(unit):
    if unit.startswith("Logits"):
        return "logits"
    block, *rest = unit.split("/")
    if not rest:
        return block
    number, letter = (
        rest[0][-1],
        "" if rest[0] == "Branch_0" else "b" if "3x3" in rest[1] or rest[0] == "Branch_3" else "a",
    )
    return f"{block}.b{number}{letter}"


def _kinetics_port_unit(unit):
    if unit.startswith("Logits"):
        return "conv3d_0c_1x1"
    block, *rest = unit.lower().split("/")
    if not rest:
        return block
    position = "" if rest[0] == "branch_0" else ".1" if "3x3" in rest[1] or rest[0] == "branch_3" else ".0"
    return f"{block}.{rest[0]}{position}"
