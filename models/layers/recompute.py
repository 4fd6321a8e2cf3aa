"""Activation checkpointing, chosen per block by the caller and not by the block."""

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def run_block(block: nn.Module, index: int, recompute_every: int, *inputs: Any) -> torch.Tensor:
    """block(*inputs); every `recompute_every`-th block (0: none, 1: all) keeps only its inputs and is computed again
    for the gradient.
    """
    if recompute_every and index % recompute_every == 0 and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False)
    return block(*inputs)
