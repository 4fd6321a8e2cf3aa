"""Discriminators that judge patches, the hinge losses of both players, and the weight that balances them with the
reconstruction.
"""

import torch
import torch.nn.functional as F
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.trunk import COLOURS

_KERNEL_PX = 4
_MOST_WIDTHS = 8
_SLOPE = 0.2
_START_STD = 0.02
_EPS = 1e-4
_LARGEST_WEIGHT = 1e4
_GROUPS = 8


class PatchDiscriminator(nn.Module):
    """float [B, T, 3, H, W] -> one logit per patch, float [B, N], high for real ones (PatchGAN, 1611.07004, section
    3.2.2).

    across_time False: of every frame by itself, as LVDM's code (2211.13221) does for videos. True: 3-D convolutions,
    three frames wide, that halve time too behind the first layer, so that patches are of videos and motion counts; a
    single frame is a video for it as well.
    width: channels of the first layer; layers: convolutions of stride two, 3 for patches of 70 px. Group norm in place
    of batch norm: what a sample gets does not depend on the others of its batch.
    """

    def __init__(self, across_time: bool, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        self.across_time, self.layers = across_time, layers
        widths = [width * min(2**level, _MOST_WIDTHS) for level in range(layers + 1)]
        steps: list[nn.Module] = [self._convolution(COLOURS, widths[0], 2, 1), nn.LeakyReLU(_SLOPE)]
        for level in range(1, layers + 1):
            stride = 2 if level < layers else 1
            steps += [
                self._convolution(widths[level - 1], widths[level], stride, stride),
                _norm(widths[level]),
                nn.LeakyReLU(_SLOPE),
            ]
        self.steps = nn.Sequential(*steps, self._convolution(widths[-1], 1, 1, 1))

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        """Raises UserError for frames too small for a patch."""
        self._check(min(video.shape[3:]))
        # [B, 3, T, H, W], or each frame as a video of its own.
        x = video.transpose(1, 2) if self.across_time else video.flatten(0, 1).unsqueeze(2)
        return self.steps(x).reshape(len(video), -1)

    def _convolution(self, channels: int, out_channels: int, stride: int, time_stride: int) -> nn.Conv3d:
        frames, step = (3, time_stride) if self.across_time else (1, 1)
        kernel, strides = (frames, _KERNEL_PX, _KERNEL_PX), (step, stride, stride)
        layer = nn.Conv3d(channels, out_channels, kernel, strides, padding=(frames // 2, 1, 1))
        nn.init.normal_(layer.weight, std=_START_STD)
        return layer

    def _check(self, side_px: int) -> None:
        # Two convolutions of stride one follow, each of which takes one pixel.
        smallest = 3 * 2**self.layers
        if side_px < smallest:
            raise UserError(
                f"frames of {side_px} px are too small for a discriminator of {self.layers} layers, which takes"
                f" {smallest} px: set autoencoder_loss.discriminator_layers lower"
            )


def hinge_discriminator_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """float [B] of logits [B, N] each: (mean max(0, 1 - real) + mean max(0, 1 + fake)) / 2 (1705.02894)."""
    return (F.relu(1 - real).mean(dim=1) + F.relu(1 + fake).mean(dim=1)) / 2


def hinge_generator_loss(fake: torch.Tensor) -> torch.Tensor:
    """float [B] of logits [B, N]: -mean fake."""
    return -fake.mean(dim=1)


def adaptive_weight(reconstruction: torch.Tensor, adversarial: torch.Tensor, last_layer: torch.Tensor) -> torch.Tensor:
    """float [], without gradient: |∇ reconstruction| / (|∇ adversarial| + 1e-4), at most 1e4, of the gradients of two
    scalar losses with respect to the decoder's last layer (VQGAN, 2012.09841, equation 7).
    """
    norms = [
        torch.autograd.grad(loss, last_layer, retain_graph=True)[0].float().norm()
        for loss in (reconstruction, adversarial)
    ]
    return (norms[0] / (norms[1] + _EPS)).clamp(max=_LARGEST_WEIGHT).detach()


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS if channels % _GROUPS == 0 else 1, channels)
