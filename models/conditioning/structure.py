"""The structure of a video as a video: edges, a blur, or depth."""

import torch
import torch.nn.functional as F

from clipmill.models.conditioning.config import FramesConfig

# ITU-R BT.601.
_BRIGHTNESS = (0.299, 0.587, 0.114)
# Standard deviations from the middle of a blur's kernel to its end.
_REACH = 3


def structure(config: FramesConfig, video: torch.Tensor) -> torch.Tensor:
    """float [B, T, 3, H, W] in [-1, 1] -> the same, of the kind `config.structure`. Raises UserError for depth whose
    network is not there.
    """
    if config.structure == "edges":
        return edges(video)
    if config.structure == "blur":
        return blurred(video, config.blur_px)
    from clipmill.models.conditioning.depth import depth

    return depth(config.depth_model, video)


def edges(video: torch.Tensor) -> torch.Tensor:
    """The length of Sobel's gradient of the brightness, alike in the three colours: -1 where it is flat, 1 from the
    step of a straight edge from black to white on.
    """
    grey = torch.einsum("c,btchw->bthw", video.new_tensor(_BRIGHTNESS), (video + 1) / 2)
    across = video.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    padded = F.pad(grey.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate")
    gradient = F.conv2d(padded, torch.stack([across, across.T])[:, None])
    # A step from 0 to 1 has the gradient 1 + 2 + 1.
    length = (gradient.square().sum(dim=1).sqrt() / 4).clamp(max=1)
    return (2 * length - 1).unflatten(0, video.shape[:2])[:, :, None].expand_as(video).contiguous()


def blurred(video: torch.Tensor, px: float) -> torch.Tensor:
    """Each frame under a Gaussian of standard deviation `px`; behind the border stands what is at the border."""
    reach = max(1, round(_REACH * px))
    place = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (place / px) ** 2)
    weights = (weights / weights.sum()).to(video)
    planes = video.flatten(0, 2)[:, None]
    down = F.conv2d(F.pad(planes, (0, 0, reach, reach), mode="replicate"), weights[None, None, :, None])
    both = F.conv2d(F.pad(down, (reach, reach, 0, 0), mode="replicate"), weights[None, None, None])
    return both[:, 0].unflatten(0, video.shape[:3])
