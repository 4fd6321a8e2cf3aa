"""Weights and optimiser states as whole tensors under names, whichever way they are spread over processes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from clipmill.models.checkpoints.step_files import fitting

Named = Sequence[tuple[str, nn.Parameter]]
_OF = "|"


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor itself, or all of one that is spread over processes; then every process must ask."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def put(target: torch.Tensor, values: torch.Tensor) -> None:
    """Copies whole values into a tensor that may be spread."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    values = values.to(target.device, target.dtype)
    if isinstance(target, DTensor):
        values = distribute_tensor(values, target.device_mesh, target.placements)
    with torch.no_grad():
        target.copy_(values)


def all_whole(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`whole` of every tensor under its name, without gradients; memory may be shared with the originals."""
    return {name: whole(tensor.detach()) for name, tensor in tensors.items()}


def put_all(targets: Mapping[str, torch.Tensor], values: Mapping[str, torch.Tensor], what: str) -> None:
    """Raises UserError where names or shapes differ."""
    fitting(values, targets, what)
    for name, target in targets.items():
        put(target, values[name])


def optimiser_tensors(optimisers: Iterable[Optimizer], named: Named) -> dict[str, torch.Tensor]:
    """`parameter|key` -> whole tensor. Settings are not in it: they come from the config."""
    names = {id(parameter): name for name, parameter in named}
    found = {}
    for optimiser in optimisers:
        for parameter, state in optimiser.state.items():
            for key, value in state.items():
                found[f"{names[id(parameter)]}{_OF}{key}"] = (
                    whole(value) if isinstance(value, torch.Tensor) else torch.tensor(value)
                )
    return found


def put_optimiser_tensors(optimisers: Iterable[Optimizer], named: Named, values: Mapping[str, torch.Tensor]) -> None:
    """The inverse of `optimiser_tensors`, before the first step."""
    names = {id(parameter): name for name, parameter in named}
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            for parameter in group["params"]:
                state = dict(_of(names[id(parameter)], values))
                if state:
                    optimiser.state[parameter] = {key: _like(parameter, value) for key, value in state.items()}


def _of(name: str, values: Mapping[str, torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
    start = name + _OF
    return [(key.removeprefix(start), value) for key, value in values.items() if key.startswith(start)]


def _like(parameter: nn.Parameter, value: torch.Tensor) -> Any:
    """On the parameter's device and spread as it is; step counters stay where torch keeps them."""
    if value.ndim == 0 and parameter.ndim > 0:
        return value.to(parameter.device) if parameter.is_cuda else value.clone()
    made = torch.zeros_like(parameter.detach())
    put(made, value)
    return made
