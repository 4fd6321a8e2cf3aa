"""A disk that refuses is told by the system's number, whatever words safetensors has for it."""

import errno
import resource
import signal

import pytest
import torch
from safetensors.torch import load_file

from clipmill.models.tensor_files import write_tensors


def test_a_disk_that_refuses_is_an_error_of_the_system_and_leaves_nothing(tmp_path):
    path, limits = tmp_path / "a.safetensors", resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match=r"a\.safetensors") as caught:
            write_tensors(path, {"x": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert caught.value.errno == errno.EFBIG
    assert list(tmp_path.iterdir()) == []


def test_tensors_come_back(tmp_path):
    write_tensors(tmp_path / "a", {"x": torch.arange(6).view(2, 3).T}, {"about": "it"})
    assert torch.equal(load_file(tmp_path / "a")["x"], torch.arange(6).view(2, 3).T)
