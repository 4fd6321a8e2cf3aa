"""Projections of attention of which a part learns: a low-rank branch beside frozen weights, or the queries alone. The
frozen weights keep their names.
"""

from collections.abc import Iterator
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.adapt.along_time import temporal_names
from clipmill.models.backbones.joint import Stream
from clipmill.models.layers.attention import Attention, CrossAttention
from clipmill.models.settings.learn import LORA, QUERY, Learn

BRANCHES = ("lora_A", "lora_B", "query_weight", "query_bias")
Kind = TypeVar("Kind", bound=nn.Linear)


class LowRankLinear(nn.Linear):
    """x W^T + b + x A^T B^T for each of `parts` equal parts of the output, such as query, key and value (LoRA,
    2106.09685, section 4.1, with alpha = rank). B is zero at the start: then it is the layer it was put around, bit by
    bit.

    lora_A: float [parts, rank, in]; lora_B: float [parts, out / parts, rank].
    """

    lora_A: nn.Parameter
    lora_B: nn.Parameter

    @classmethod
    def around(cls, layer: nn.Linear, rank: int, parts: int) -> "LowRankLinear":
        """With the layer's own weights. Raises UserError for a rank that saves nothing."""
        out = layer.out_features // parts
        if rank > min(layer.in_features, out):
            raise UserError(
                f"train.learn: a rank of {rank:,} is more than a projection from {layer.in_features} to {out} has: set"
                " a lower one"
            )
        made = _taken_over(cls, layer)
        made.lora_A = nn.Parameter(layer.weight.new_empty(parts, rank, layer.in_features))
        made.lora_B = nn.Parameter(layer.weight.new_zeros(parts, out, rank))
        with torch.no_grad():
            made.lora_A.uniform_(-1, 1).mul_(layer.in_features**-0.5)
        return made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        narrow = F.linear(x, self.lora_A.flatten(0, 1)).unflatten(-1, self.lora_A.shape[:2])
        change = torch.einsum("...pr,por->...po", narrow, self.lora_B).flatten(-2)
        return F.linear(x, self.weight, self.bias) + change

    def plain(self) -> dict[str, torch.Tensor]:
        """weight, and bias, of the plain layer that does the same."""
        found = {"weight": self.weight + torch.bmm(self.lora_B, self.lora_A).flatten(0, 1)}
        return found if self.bias is None else found | {"bias": self.bias}


class QueryLinear(nn.Linear):
    """Query, key and value of attention as one layer, of which the query learns (Tune-A-Video, 2212.11565, section
    3.2).

    query_weight: float [out / 3, in]; query_bias: float [out / 3], None where the layer has no bias.
    """

    query_weight: nn.Parameter
    query_bias: nn.Parameter | None

    @classmethod
    def around(cls, layer: nn.Linear) -> "QueryLinear":
        """With the layer's own weights."""
        made, third = _taken_over(cls, layer), layer.out_features // 3
        made.query_weight = nn.Parameter(layer.weight.detach()[:third].clone())
        made.query_bias = None if layer.bias is None else nn.Parameter(layer.bias.detach()[:third].clone())
        return made

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.plain()
        return F.linear(x, found["weight"], found.get("bias"))

    def plain(self) -> dict[str, torch.Tensor]:
        """weight, and bias, of the plain layer that does the same."""
        third = len(self.query_weight)
        found = {"weight": torch.cat([self.query_weight, self.weight[third:]])}
        return found if self.query_bias is None else found | {"bias": torch.cat([self.query_bias, self.bias[third:]])}

    @torch.no_grad()
    def begin(self) -> None:
        """The queries as the layer's weights have them."""
        self.query_weight.copy_(self.weight[: len(self.query_weight)])
        if self.query_bias is not None:
            self.query_bias.copy_(self.bias[: len(self.query_bias)])


def put_branches(backbone: nn.Module, learn: Learn) -> None:
    """In place: the layers of attention that learn in part. Numbers are drawn after those of all other weights, which
    so stay what they are. Raises UserError where there is none.
    """
    if learn.kind == LORA:
        found = list(_projections(backbone, learn.along_time))
        if not found:
            raise UserError(
                "train.learn: this network has no attention along time: set train.learn=lora:8 without :temporal"
            )
        for owner, name, parts in found:
            setattr(owner, name, LowRankLinear.around(getattr(owner, name), learn.rank, parts))
    elif learn.kind == QUERY:
        along_time = temporal_names(backbone)
        for path, module in list(backbone.named_modules()):
            fused = isinstance(module, Attention) and module.plan.reach != "diagonal"
            if fused and f"{path}.query_key_value.weight" not in along_time:
                module.query_key_value = QueryLinear.around(module.query_key_value)


def branches_of(network: nn.Module) -> dict[str, LowRankLinear | QueryLinear]:
    """By their names."""
    return {name: m for name, m in network.named_modules() if isinstance(m, LowRankLinear | QueryLinear)}


def is_branch(name: str) -> bool:
    """Whether a parameter is one that a plain network has not."""
    return name.rpartition(".")[2] in BRANCHES


@torch.no_grad()
def plain_tensors(network: nn.Module) -> dict[str, torch.Tensor]:
    """Every parameter that the network has without its branches, as float tensors that do the same."""
    found = {name: parameter.detach() for name, parameter in network.named_parameters() if not is_branch(name)}
    for path, layer in branches_of(network).items():
        found |= {f"{path}.{name}": tensor.detach() for name, tensor in layer.plain().items()}
    return found


def _projections(backbone: nn.Module, along_time: bool) -> Iterator[tuple[nn.Module, str, int]]:
    """Owner, name and number of parts of each projection of attention."""
    temporal = temporal_names(backbone)
    for path, module in list(backbone.named_modules()):
        if along_time and f"{path}.output.weight" not in temporal:
            continue
        if isinstance(module, Attention):
            if module.plan.reach != "diagonal":  # reads the weights of the value alone
                yield module, "query_key_value", 3
            yield module, "output", 1
        elif isinstance(module, CrossAttention):
            yield from ((module, "query", 1), (module, "key_value", 2), (module, "output", 1))
        elif isinstance(module, Stream):
            yield from (
                ((module, "query_key_value", 3), (module, "output", 1))
                if module.output
                else ((module, "query_key_value", 2),)
            )


def _taken_over(kind: type[Kind], layer: nn.Linear) -> Kind:
    """A layer of another kind with the same weights; they are not made, nor registered, a second time."""
    made = kind.__new__(kind)
    made.__dict__.update(layer.__dict__)
    return made
