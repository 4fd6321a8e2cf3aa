"""A network that sees a long video window by window, at every step of sampling (MultiDiffusion, 2302.08113)."""

import torch
from torch import nn

from clipmill.models.backbones.contract import Conditioning
from clipmill.models.zero_shot.attending import of_frames


class InWindows(nn.Module):
    """A backbone that never sees more than `frames` frames at once. Windows begin every half of that, the last one ends
    with the video; where several see a frame its prediction is their mean, the least squares of all (Lumiere,
    2401.12945, section 3.3). What looks at single frames alone is the same as without.
    """

    def __init__(self, backbone: nn.Module, frames: int) -> None:
        super().__init__()
        self.backbone, self.frames = backbone, frames

    def forward(self, z: torch.Tensor, noise_level: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        """As the backbone: float [B, T, C, H, W] -> [B, T, D, H, W]."""
        total, count = torch.zeros(()), z.new_zeros(z.shape[1], 1, 1, 1)
        for begin in begins(z.shape[1], self.frames):
            window = slice(begin, begin + self.frames)
            made = self.backbone(z[:, window], noise_level, of_frames(conditioning, window))
            if not total.ndim:
                total = made.new_zeros(*z.shape[:2], *made.shape[2:])
            total[:, window] += made
            count[window] += 1
        return total / count


def begins(length: int, frames: int) -> list[int]:
    """Of windows of so many frames in a video of `length`, more than that or as many."""
    return sorted({*range(0, length - frames, max(1, frames // 2)), length - frames})
