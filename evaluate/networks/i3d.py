"""I3D, the inflated Inception-v1 of Carreira and Zisserman (Quo Vadis, Action Recognition?, CVPR 2017), as DeepMind's
graph computes it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from clipmill.curate.errors import UserError

DIM = 400
MIN_FRAMES = 9
SIDE_PX = 224
BN_EPS = 1e-3

Sizes = tuple[int, int, int]
Variables = Mapping[str, np.ndarray]

_STAGES = {"Mixed_3": "bc", "Mixed_4": "bcdef", "Mixed_5": "bc"}
_HALF: Sizes = (2, 2, 2)
_ONE: Sizes = (1, 1, 1)


class I3DNetwork(nn.Module):
    """[B, 3, T, 224, 224] in [-1, 1], T >= 9 -> float32 [B, 400], logits averaged over time, as TF-Hub's
    i3d-kinetics-400/1 gives them.

    variables: float32 arrays in TensorFlow's layout, by name without scope (see
    `clipmill.evaluate.networks.i3d_weights`).
    bn_eps: 1e-3 in the original graph; VideoGPT and its descendants compute with 1e-5. folded, channels_last: two
    arrangements of the same sums, for speed: batch norm worked into the convolutions, and pictures stored pixel by
    pixel. Without both it is the plain module of the ports.
    """

    def __init__(
        self, variables: Variables, bn_eps: float = BN_EPS, folded: bool = True, channels_last: bool = True
    ) -> None:
        super().__init__()

        def unit(name: str) -> Convolution:
            return Convolution(variables, name, bn_eps, folded, channels_last)

        self.channels_last = channels_last
        self.conv_1a = Convolution(variables, "Conv3d_1a_7x7", bn_eps, folded, channels_last, _HALF)
        self.conv_2 = nn.Sequential(unit("Conv3d_2b_1x1"), unit("Conv3d_2c_3x3"))
        self.mixed_3, self.mixed_4, self.mixed_5 = (
            nn.Sequential(
                *(
                    Mixed({part: unit(f"{stage}{letter}/{part}") for part in _parts(stage + letter)})
                    for letter in letters
                )
            )
            for stage, letters in _STAGES.items()
        )
        self.logits_weight, self.logits_bias = (
            nn.Parameter(_float32(variables[f"Logits/Conv3d_0c_1x1/conv_3d/{part}"]), requires_grad=False)
            for part in "wb"
        )

    def forward(self, videos: torch.Tensor) -> torch.Tensor:
        x = videos.contiguous(memory_format=torch.channels_last_3d if self.channels_last else torch.contiguous_format)
        x = max_pool(self.conv_1a(x), (1, 3, 3), (1, 2, 2))
        x = max_pool(self.conv_2(x), (1, 3, 3), (1, 2, 2))
        x = max_pool(self.mixed_3(x), (3, 3, 3), _HALF)
        x = max_pool(self.mixed_4(x), (2, 2, 2), _HALF)
        # In single precision these few sums alone would make half of all rounding errors. Logits of the mean are the
        # mean of the logits.
        pooled = F.avg_pool3d(self.mixed_5(x).double(), (2, 7, 7), 1).mean(dim=(2, 3, 4))
        return torch.addmm(self.logits_bias.double(), pooled, self.logits_weight[0, 0, 0].double()).float()


class Mixed(nn.Module):
    """An Inception block: [B, C, T, H, W] -> [B, D, T, H, W], the channels of four branches one after the other."""

    def __init__(self, units: "Mapping[str, Convolution]") -> None:
        super().__init__()
        first, second_a, second_b, third_a, third_b, self.fourth = units.values()
        self.branches = nn.ModuleList([first, nn.Sequential(second_a, second_b), nn.Sequential(third_a, third_b)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [branch(x) for branch in self.branches] + [self.fourth(max_pool(x, (3, 3, 3), _ONE))]
        if not self.fourth.channels_last:
            return torch.cat(parts, dim=1)
        return _pixels_first(torch.cat([_pixels_last(part) for part in parts], dim=-1))


class Convolution(nn.Module):
    """Convolution under TensorFlow's SAME rule, batch norm without scale, ReLU: [B, C, T, H, W] -> [B, D, ⌈T / s⌉, ⌈H /
    s⌉, ⌈W / s⌉].
    """

    weight: torch.Tensor
    beta: torch.Tensor
    mean: torch.Tensor
    variance: torch.Tensor

    def __init__(
        self, variables: Variables, name: str, bn_eps: float, folded: bool, channels_last: bool, stride: Sizes = _ONE
    ) -> None:
        super().__init__()
        self.bn_eps, self.folded, self.channels_last, self.stride = bn_eps, folded, channels_last, stride
        weight = variables[f"{name}/conv_3d/w"].astype(np.float64)
        mean, variance, beta = (
            variables[f"{name}/batch_norm/{part}"].astype(np.float64)
            for part in ("moving_mean", "moving_variance", "beta")
        )
        if folded:
            scale = 1 / np.sqrt(variance + bn_eps)
            weight, beta = weight * scale, beta - mean * scale
        self.kernel: Sizes = (weight.shape[0], weight.shape[1], weight.shape[2])
        order = torch.channels_last_3d if channels_last else torch.contiguous_format
        self.register_buffer("weight", _float32(weight.transpose(4, 3, 0, 1, 2)).contiguous(memory_format=order))
        for buffer, values in (("beta", beta), ("mean", mean), ("variance", variance)):
            self.register_buffer(buffer, _float32(values))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.folded:
            return self._convolved(x, self.beta).relu_()
        return F.batch_norm(
            self._convolved(x, None), self.mean, self.variance, None, self.beta, eps=self.bn_eps
        ).relu_()

    def _convolved(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if self.kernel == _ONE and self.channels_last:
            # One matrix product over all pixels: twice as fast as the convolution where it is bound by memory.
            return _pixels_first(F.linear(_pixels_last(x), self.weight.flatten(1), bias))
        padding = same_padding(x.shape[2:], self.kernel, self.stride)
        before = [b for b, _ in padding]
        if any(b != after for b, after in padding):
            x, before = F.pad(x, [n for pair in reversed(padding) for n in pair]), [0, 0, 0]
        return F.conv3d(x, self.weight, bias, self.stride, before)


def max_pool(x: torch.Tensor, kernel: Sizes, stride: Sizes) -> torch.Tensor:
    """Maximum over windows under TensorFlow's SAME rule: windows that reach beyond the end are cut short, nothing
    outside ever wins.
    """
    before = [b for b, _ in same_padding(x.shape[2:], kernel, stride)]
    return F.max_pool3d(x, kernel, stride, before, ceil_mode=True)


def same_padding(size: torch.Size | Sizes, kernel: Sizes, stride: Sizes) -> list[tuple[int, int]]:
    """(before, after) for every axis, so that there are ceil(size / stride) windows; of an odd sum the larger part
    comes after.
    """
    totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, kernel, stride, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]


def features(network: I3DNetwork, videos: torch.Tensor, input_range: float = 1.0) -> torch.Tensor:
    """float32 [B, T, 3, 224, 224] in [-1, 1] -> float32 [B, 400], on the network's device, in true float32 whatever the
    process has set.

    input_range: what the network sees of -1 to 1, see `clipmill.evaluate.frames.protocol`. Raises UserError for clips
    under 9 frames and for other shapes.
    """
    if videos.ndim != 5 or videos.shape[2:] != (3, SIDE_PX, SIDE_PX):
        raise UserError(f"I3D takes videos [B, T, 3, {SIDE_PX}, {SIDE_PX}], not {list(videos.shape)}")
    if videos.shape[1] < MIN_FRAMES:
        raise UserError(f"I3D needs clips of at least {MIN_FRAMES} frames, these have {videos.shape[1]}")
    device = network.logits_bias.device
    with torch.no_grad(), true_float32(), torch.autocast(device.type, enabled=False):
        return network(videos.to(device, torch.float32).mul(input_range).transpose(1, 2))


@contextmanager
def true_float32() -> Iterator[None]:
    """No TF32 and no bfloat16 inside convolutions and matrix products; what was set before is set again at the end."""
    name, value, owners = _precision_switches()
    before = [getattr(owner, name) for owner in owners]
    try:
        for owner in owners:
            setattr(owner, name, value)
        yield
    finally:
        for owner, old in zip(owners, before, strict=True):
            setattr(owner, name, old)


def _precision_switches() -> tuple[str, Any, tuple[Any, ...]]:
    """(attribute, value of true float32, what has the attribute). The settings of old and new torch must not be
    mixed.
    """
    backends: Any = torch.backends
    if hasattr(backends.cudnn, "conv"):
        return (
            "fp32_precision",
            "ieee",
            (backends.cudnn.conv, backends.mkldnn.conv, backends.cuda.matmul, backends.mkldnn.matmul),
        )
    return "allow_tf32", False, (backends.cudnn, backends.cuda.matmul)


def _parts(block: str) -> tuple[str, ...]:
    """The convolutions of an Inception block, branch by branch. In Mixed_5b one is called 0a, a slip of the original
    graph.
    """
    second = "Conv3d_0a_3x3" if block == "Mixed_5b" else "Conv3d_0b_3x3"
    one = "Conv3d_0a_1x1"
    return (
        f"Branch_0/{one}",
        *(f"Branch_1/{one}", "Branch_1/Conv3d_0b_3x3"),
        *(f"Branch_2/{one}", f"Branch_2/{second}"),
        "Branch_3/Conv3d_0b_1x1",
    )


def _pixels_last(x: torch.Tensor) -> torch.Tensor:
    """[B, C, T, H, W] seen as [B, T, H, W, C]."""
    return x.permute(0, 2, 3, 4, 1)


def _pixels_first(x: torch.Tensor) -> torch.Tensor:
    """[B, T, H, W, C] seen as [B, C, T, H, W]."""
    return x.permute(0, 4, 1, 2, 3)


def _float32(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
