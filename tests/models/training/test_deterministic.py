"""`train.deterministic` holds for one training and leaves the process as it was."""

import pytest
import torch

from clipmill.curate.errors import UserError
from clipmill.models.training.deterministic import deterministic


@pytest.mark.parametrize("asked", [True, False])
def test_it_holds_while_it_is_open(asked: bool):
    with deterministic(asked):
        assert torch.are_deterministic_algorithms_enabled() is asked
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_operation_that_has_no_such_algorithm_is_one_line():
    with pytest.raises(UserError, match=r"^set train.deterministic=false: [^\n]+$"), deterministic(True):
        torch.ones(4).put_(torch.tensor([0, 0]), torch.ones(2))
    assert not torch.are_deterministic_algorithms_enabled()


def test_other_errors_are_left_as_they_are():
    with pytest.raises(RuntimeError, match="shape"), deterministic(True):
        raise RuntimeError("shape")
