"""What of a network learns; the rest is frozen."""

from collections.abc import Collection

from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.adapt.along_time import temporal_names
from clipmill.models.adapt.branches import is_branch
from clipmill.models.layers.attention import CrossAttention
from clipmill.models.settings.learn import ALL, CONTROL, LORA, QUERY, Learn


def learning_names(network: nn.Module, learn: Learn, unlearned: Collection[str]) -> set[str]:
    """Names of the parameters that learn. unlearned: those that nothing has trained yet. Raises UserError where that is
    none, and where low-rank branches would leave something as it was initialised.
    """
    names = {name for name, _ in network.named_parameters()}
    if learn.kind == ALL:
        return names
    branches = {name for name in names if is_branch(name)}
    if learn.kind == LORA:
        for name in sorted(unlearned):
            raise UserError(
                f"train.learn: low-rank branches leave all else as it is, and {len(unlearned)} tensors are not in"
                f" train.init, such as {name}: train them first, with train.learn=temporal or all"
            )
        return branches
    if learn.kind == CONTROL:
        return _control(names) | set(unlearned)
    along_time = temporal_names(network)
    if not along_time:
        raise UserError(
            "train.learn: this network has no layers along time that could learn: set train.learn=all or lora:8, or a"
            " plan of attention along time"
        )
    queries = _cross_queries(network) - along_time if learn.kind == QUERY else set()
    return branches | along_time | queries | set(unlearned)


def _control(names: Collection[str]) -> set[str]:
    found = {name for name in names if name.startswith("backbone.control.")}
    if not found:
        raise UserError("train.learn=control: this network has no control: set backbone.options.control=true")
    return found


def freeze(network: nn.Module, learning: Collection[str]) -> None:
    """In place: only these take gradients."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in learning)


def _cross_queries(network: nn.Module) -> set[str]:
    """Of attention to tokens; those of attention to pixels are `query_weight` (Tune-A-Video)."""
    found = set()
    for path, module in network.named_modules():
        if isinstance(module, CrossAttention):
            found |= {f"{path}.query.{name}" for name, _ in module.query.named_parameters()}
    return found
