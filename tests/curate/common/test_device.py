"""One choice of device for all commands."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from clipmill.curate.common.device import check_device, own_device, resolve_device
from clipmill.curate.errors import UserError
from clipmill.evaluate import score
from clipmill.models.processes import start

WHOLE = np.zeros((2, 4, 8, 8, 3), np.uint8)


def told_by_evaluate(device: str) -> None:
    score(["flicker"], None, WHOLE, device=device)


@pytest.mark.parametrize("asks", [check_device, own_device, start, told_by_evaluate])
def test_all_commands_say_the_same_of_a_device_that_is_none_or_not_here(asks):
    with pytest.raises(UserError, match=r"^--device is auto, cpu or cuda, not tpu$"):
        asks("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match=r"^--device cuda: torch finds no CUDA device here; `curate doctor` says"):
            asks("cuda")


def test_auto_is_the_gpu_where_there_is_one(monkeypatch):
    gpu = torch.cuda.is_available()
    assert resolve_device("auto") == ("cuda" if gpu else "cpu")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert own_device("auto") == ("cuda:0" if gpu else "cpu")
    assert own_device("cpu") == "cpu"
    assert start("auto").device == (torch.device("cuda", 0) if gpu else torch.device("cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_process_without_a_gpu_of_its_own_is_told_so(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", str(torch.cuda.device_count()))
    with pytest.raises(UserError, match="has no GPU of its own"):
        own_device("auto")


def test_asking_for_auto_imports_torch_only_where_a_driver_is_loaded():
    lines = (
        "import sys",
        "from pathlib import Path",
        "from clipmill.curate.common.device import resolve_device",
        "resolve_device('auto')",
        "assert ('torch' in sys.modules) == Path('/proc/driver/nvidia/version').exists()",
    )
    subprocess.run([sys.executable, "-c", "; ".join(lines)], check=True)
