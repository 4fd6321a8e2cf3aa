"""Spacetime patches: a video as a grid of vectors and back, for any size."""

import torch
import torch.nn.functional as F

from clipmill.models.layers.plan import Grid


def patch_grid(video: Grid, patch: Grid) -> Grid:
    """Patches along time, rows and columns of a video (frames, height, width): each side divided by the patch's and
    rounded up.
    """
    frames, height, width = (-(-side // step) for side, step in zip(video, patch, strict=True))
    return frames, height, width


def patchify(video: torch.Tensor, patch: Grid) -> torch.Tensor:
    """float [B, T, C, H, W] -> [B, t, h, w, pt * ph * pw * C]. Sides that the patch does not divide are filled up with
    zeros at the end.

    Every patch holds at least one real value, so that no patch has to be masked out.
    """
    frames, height, width = patch
    missing = [-side % step for side, step in zip((video.shape[1], video.shape[3], video.shape[4]), patch, strict=True)]
    if any(missing):
        video = F.pad(video, [0, missing[2], 0, missing[1], 0, 0, 0, missing[0]])
    x = video.unflatten(4, (-1, width)).unflatten(3, (-1, height)).unflatten(1, (-1, frames))
    return x.permute(0, 1, 4, 6, 2, 5, 7, 3).flatten(4)


def unpatchify(patches: torch.Tensor, patch: Grid, video: Grid) -> torch.Tensor:
    """The inverse: [B, t, h, w, pt * ph * pw * C] -> [B, T, C, H, W], what was filled up cut off. video: frames,
    height, width.
    """
    x = patches.unflatten(4, (*patch, -1)).permute(0, 1, 4, 7, 2, 5, 3, 6)
    x = x.flatten(6, 7).flatten(4, 5).flatten(1, 2)
    return x[:, : video[0], :, : video[1], : video[2]]
