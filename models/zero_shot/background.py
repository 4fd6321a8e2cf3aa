"""What of a frame is background, and its smoothing over frames (Text2Video-Zero, 2303.13439, section 3.3.3)."""

import torch
import torch.nn.functional as F

# The released code's 5 x 5 on latents of 64 x 64.
_GROWTH = 2 / 64


def salient(video: torch.Tensor, sides: tuple[int, int]) -> torch.Tensor:
    """uint8 [B, T, 3, H, W] -> bool [B, T, h, w] of `sides`, what stands out of its frame.

    In place of the paper's network: colours that are further from their frame's mean colour than twice as far as all
    are on average (Achanta et al. 2009, frequency-tuned saliency, equations 4 and 12, in RGB), grown by as much as the
    released code grows its masks.
    """
    colours = F.avg_pool2d(F.pad(video.flatten(0, 1).float(), (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    far = (colours - colours.mean(dim=(2, 3), keepdim=True)).norm(dim=1, keepdim=True)
    mask = F.adaptive_max_pool2d((far > 2 * far.mean(dim=(2, 3), keepdim=True)).float(), sides)
    reach = round(_GROWTH * min(sides))
    return (F.max_pool2d(mask, 2 * reach + 1, stride=1, padding=reach) > 0)[:, 0].unflatten(0, video.shape[:2])


def with_background(z: torch.Tensor, moved: torch.Tensor, background: torch.Tensor, share: float) -> torch.Tensor:
    """z, moved: float [B, T, C, h, w], the frames and the moved first one; background: bool [B, T, h, w] -> z, and in
    the background share * moved + (1 - share) z (equation 11). The rest stays bit by bit.
    """
    return torch.where(background[:, :, None].to(z.device), torch.lerp(z, moved, share), z)
