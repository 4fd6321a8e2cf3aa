"""What a training says of its own speed."""

import pytest
import torch

from clipmill.models.training.telemetry import peak_flops


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989),
        ("NVIDIA GH200 480GB", 989),
        ("NVIDIA H200 NVL", 836),
        ("NVIDIA A100-SXM4-80GB", 312),
    ],
)
def test_cards_of_one_name_have_the_peak_of_their_own_form(name, tflops, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: name)
    assert peak_flops(torch.device("cuda")) == tflops * 1e12


def test_a_card_that_is_not_known_has_no_peak(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "NVIDIA T4")
    assert peak_flops(torch.device("cuda")) is None
