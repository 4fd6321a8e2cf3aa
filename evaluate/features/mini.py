"""`mini`: a small 3-D network of our own for demos and tests. It needs no download, and no number made with it is an
FVD.

Trained by `python -m clipmill.evaluate.studies.train_mini` on the procedural clips of `curate demo`, among others to
tell corruptions of `clipmill.evaluate.studies.degrade`: what it says of those is a check of the machinery, not evidence
about networks that never saw them. Two weak spots are known: blocks of just 4 px of its 64 fall on the grid of its
first layer and weigh little more than blocks of 2 px; and on videos whose motion looks alike in both directions, as
constant speeds do, reversal weighs little (less than another draw of such videos).
"""

import hashlib
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.evaluate.features import FeatureNetwork

WEIGHTS = Path(__file__).with_name("mini.safetensors")
DIM = 128


def _layer(
    channels_in: int, channels_out: int, kernel: tuple[int, int, int], stride: tuple[int, int, int]
) -> nn.Sequential:
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    conv = nn.Conv3d(channels_in, channels_out, kernel, stride, padding, bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(channels_out), nn.ReLU())


class MiniTrunk(nn.Module):
    """Five convolutions and a mean over what is left of space and time; 0.61 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _layer(3, 24, (3, 5, 5), (1, 4, 4)),
            _layer(24, 48, (3, 3, 3), (1, 2, 2)),
            _layer(48, 64, (3, 3, 3), (2, 2, 2)),
            _layer(64, 96, (3, 3, 3), (2, 1, 1)),
            _layer(96, DIM, (3, 3, 3), (1, 1, 1)),
        )

    def forward(self, videos: torch.Tensor) -> torch.Tensor:
        """float32 [B, 3, T, 64, 64] in [-1, 1] -> float32 [B, 128], not negative."""
        return self.layers(videos).mean((2, 3, 4))


class Mini(FeatureNetwork):
    """The last layer of `MiniTrunk`, mean over space and time. Clips of any length from 8 frames on."""

    side_px: ClassVar[int] = 64
    min_frames: ClassVar[int] = 8
    dim: ClassVar[int] = DIM
    label: str = "mini"

    def __init__(self, device: str = "cpu", weights: Path | None = None, **options: Any) -> None:
        """Load the weights that come with the package. Raises UserError where others, or options, are given."""
        if weights is not None or options:
            raise UserError(
                "the network mini comes with its own weights; it takes no"
                f" {'weights file' if weights else ', '.join(options)}"
            )
        from safetensors.torch import load

        data = WEIGHTS.read_bytes()
        self._sha256 = hashlib.sha256(data).hexdigest()
        self._trunk = MiniTrunk()
        self._trunk.load_state_dict(load(data))
        self._trunk.eval().requires_grad_(False).to(device)
        self._device = device

    @property
    def identity(self) -> str:
        """The weights' checksum."""
        return f"mini, sha256 {self._sha256}"

    def __call__(self, videos: torch.Tensor) -> torch.Tensor:
        """float32 [B, T, 3, 64, 64] in [-1, 1] -> float32 [B, 128]. Raises UserError for other sizes and fewer than 8
        frames.
        """
        if videos.ndim != 5 or tuple(videos.shape[2:]) != (3, self.side_px, self.side_px):
            raise UserError(f"mini takes videos [B, T, 3, {self.side_px}, {self.side_px}], not {list(videos.shape)}")
        if videos.shape[1] < self.min_frames:
            raise UserError(f"mini needs clips of at least {self.min_frames} frames, not {videos.shape[1]}")
        return self._trunk(videos.to(self._device).transpose(1, 2))
