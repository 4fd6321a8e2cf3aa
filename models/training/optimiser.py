"""Optimisers and their learning rates."""

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from clipmill.curate.errors import UserError
from clipmill.models.settings.training import TrainConfig


def make_optimisers(named: Iterable[tuple[str, nn.Parameter]], config: TrainConfig) -> list[Optimizer]:
    """AdamW over all parameters that want gradients, or Muon (Jordan 2024) over the hidden matrices and AdamW over the
    rest.

    Weights of one axis (norms, biases) and single numbers do not decay. Raises UserError where torch has no Muon.
    """
    wanted = [(name, parameter) for name, parameter in named if parameter.requires_grad]
    if config.optimiser == "adamw":
        return [_adamw(wanted, config)]
    hidden = {name for name, parameter in wanted if parameter.ndim == 2 and "blocks" in name}
    if not hasattr(torch.optim, "Muon"):
        raise UserError(
            f"torch {torch.__version__} has no Muon: set train.optimiser=adamw, or install torch 2.9 or newer"
        )
    matrices = [parameter for name, parameter in wanted if name in hidden]
    if not matrices:
        raise UserError("Muon moves the matrices of repeated blocks, and here none learns: set train.optimiser=adamw")
    muon = torch.optim.Muon(matrices, lr=config.muon_learning_rate, weight_decay=config.weight_decay)
    return [muon, _adamw([(name, parameter) for name, parameter in wanted if name not in hidden], config)]


def _adamw(named: list[tuple[str, nn.Parameter]], config: TrainConfig) -> AdamW:
    decays = [parameter for _, parameter in named if parameter.ndim > 1]
    stays = [parameter for _, parameter in named if parameter.ndim <= 1]
    groups = [{"params": decays, "weight_decay": config.weight_decay}, {"params": stays, "weight_decay": 0.0}]
    fused = all(parameter.is_cuda for _, parameter in named)
    chosen = [group for group in groups if group["params"]]
    return AdamW(chosen, lr=config.learning_rate, betas=config.betas, eps=config.epsilon, fused=fused or None)


def rate_share(step: int, config: TrainConfig) -> float:
    """What is multiplied with the learning rates in `step` (from 0): a linear rise over `warm_up` steps, then constant
    or half a cosine.
    """
    rise = min(1.0, (step + 1) / config.warm_up) if config.warm_up else 1.0
    if config.decay == "constant":
        return rise
    through = min(1.0, max(0, step - config.warm_up) / max(1, config.steps - config.warm_up))
    return rise * 0.5 * (1 + math.cos(math.pi * through))


def set_rates(optimisers: Iterable[Optimizer], share: float) -> None:
    """The first rate of a group is remembered: only the product is kept elsewhere."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group.setdefault("first_lr", group["lr"])
            group["lr"] = group["first_lr"] * share
