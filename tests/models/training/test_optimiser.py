"""Which parameters which optimiser moves."""

import pytest
import torch
from torch import nn

from clipmill.models.settings.training import TrainConfig
from clipmill.models.training.optimiser import make_optimisers


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside, self.blocks = nn.Linear(4, 4), nn.ModuleList([nn.Linear(4, 4)])
        self.frozen = nn.Parameter(torch.ones(2, 2), requires_grad=False)


def moved(module: nn.Module, group: dict) -> set[str]:
    return {name for name, parameter in module.named_parameters() if any(parameter is p for p in group["params"])}


def test_vectors_do_not_decay_and_frozen_parameters_are_left_out():
    module = Small()
    (optimiser,) = make_optimisers(module.named_parameters(), TrainConfig(weight_decay=0.1))
    decay = {group["weight_decay"]: moved(module, group) for group in optimiser.param_groups}
    assert decay == {0.1: {"inside.weight", "blocks.0.weight"}, 0.0: {"inside.bias", "blocks.0.bias"}}


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_muon_moves_the_matrices_of_blocks_and_adamw_the_rest():
    module = Small()
    muon, adamw = make_optimisers(module.named_parameters(), TrainConfig(optimiser="muon"))
    assert moved(module, muon.param_groups[0]) == {"blocks.0.weight"}
    assert set().union(*(moved(module, group) for group in adamw.param_groups)) == {
        "inside.weight",
        "inside.bias",
        "blocks.0.bias",
    }
