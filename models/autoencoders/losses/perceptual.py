"""How different two videos look, frame by frame: LPIPS where its weights are, or a measure that needs none and is not
called LPIPS.
"""

from typing import Any, Protocol

import torch
import torch.nn.functional as F

from clipmill.curate.errors import UserError

NAMES = ("none", "gradient-pyramid", "lpips-alex", "lpips-vgg", "lpips-squeeze", "auto")
_LEVELS = 4
_WINDOW_PX = 3
_CONTRAST_EPS = 1e-4
_LPIPS_SIDE_PX = 32


class Perceptual(Protocol):
    """name: what run cards and logs call it."""

    @property
    def name(self) -> str:
        """What run cards and logs call it; measures whose values cannot be compared have different ones."""
        ...

    def __call__(self, video: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """float [B, T, 3, H, W] in [-1, 1] each -> float32 [B] >= 0, the mean over frames, with gradients to
        `other`.
        """
        ...


class GradientPyramid:
    """Mean absolute difference of edges and of local contrast at four sizes, each half of the one before. No weights.

    Edges are differences of neighbouring pixels, contrast the standard deviation in 3 x 3 px: blur costs what the
    pixels hardly notice.
    """

    name = "gradient-pyramid"

    def __call__(self, video: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        one, two = video.flatten(0, 1).float(), other.flatten(0, 1).float()
        terms: list[torch.Tensor] = []
        for level in range(_LEVELS):
            if level:
                one, two = F.avg_pool2d(one, 2), F.avg_pool2d(two, 2)
            features = zip(_features(one), _features(two), strict=True)
            terms += [(a - b).abs().mean(dim=(1, 2, 3)) for a, b in features if a.numel()]
            if min(one.shape[2:]) < 2:
                break
        return torch.stack(terms).mean(dim=0).unflatten(0, video.shape[:2]).mean(dim=1)


class LearnedPatches:
    """LPIPS 0.1 (1801.03924) with its published heads, on torchvision's weights: the network that `evaluate` measures
    with.
    """

    def __init__(self, net: str, backbone: str | None = None, any_backbone: bool = False) -> None:
        """net: alex, vgg or squeeze. backbone, any_backbone: as in `clipmill.evaluate.metrics.lpips.LPIPS`. Raises
        UserError without weights.
        """
        from clipmill.evaluate.metrics.lpips import LPIPS

        try:
            found: Any = LPIPS(net=net, backbone=backbone, any_backbone=any_backbone)._network  # type: ignore[arg-type]
        except UserError as error:
            raise UserError(f"{error}; autoencoder_loss.perceptual=gradient-pyramid needs no weights") from None
        self._network = found.requires_grad_(False)
        self.name = f"lpips-{net}" + (" on other weights" if any_backbone else "")

    def __call__(self, video: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Raises UserError for frames below 32 px, which the network has no room for."""
        if min(video.shape[3:]) < _LPIPS_SIDE_PX:
            raise UserError(
                f"LPIPS takes frames of {_LPIPS_SIDE_PX} px and more, not {min(video.shape[3:])}: "
                "set autoencoder_loss.perceptual=gradient-pyramid"
            )
        network = self._network.to(video.device)
        values = network(video.flatten(0, 1).float(), other.flatten(0, 1).float(), normalize=False)
        return values.flatten().unflatten(0, video.shape[:2]).mean(dim=1)


def perceptual_named(name: str) -> Perceptual | None:
    """gradient-pyramid; lpips-alex, lpips-vgg or lpips-squeeze; auto, lpips-vgg where its weights are and
    gradient-pyramid where not, see `name`; or none. Raises UserError for another name, and for missing weights.
    """
    if name not in NAMES:
        raise UserError(f"there is no perceptual distance {name!r}; there are {', '.join(NAMES)}")
    if name == "none":
        return None
    if name == "auto":
        try:
            return LearnedPatches("vgg")
        except UserError:
            return GradientPyramid()
    return GradientPyramid() if name == GradientPyramid.name else LearnedPatches(name.removeprefix("lpips-"))


def _features(frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """float [N, 3, H, W] -> differences across columns and rows, and local contrast."""
    padded = F.pad(frames, (1, 1, 1, 1), mode="replicate")
    mean = F.avg_pool2d(padded, _WINDOW_PX, 1)
    variance = F.avg_pool2d(padded.square(), _WINDOW_PX, 1) - mean.square()
    # The root has no slope at zero.
    contrast = (variance.clamp_min(0) + _CONTRAST_EPS).sqrt()
    return frames.diff(dim=3), frames.diff(dim=2), contrast
