"""What a model is given of a whole video: the video at fewer pixels and frames, or its structure, at full size."""

import torch
import torch.nn.functional as F

from clipmill.curate.errors import UserError
from clipmill.models.conditioning.config import FramesConfig
from clipmill.models.conditioning.structure import structure
from clipmill.models.layers.plan import Grid


def observed(config: FramesConfig, video: torch.Tensor) -> torch.Tensor:
    """float [B, T, 3, H, W] in [-1, 1] -> what a model with given = low | structure sees of it, of the same shape and
    range. Raises UserError for a size that `space` does not divide, and where depth's weights are missing.
    """
    if config.given == "structure":
        return structure(config, video)
    return enlarged(config, shrunk(config, video), (video.shape[1], video.shape[3], video.shape[4]))


def shrunk(config: FramesConfig, video: torch.Tensor) -> torch.Tensor:
    """float [B, T, 3, H, W] -> [B, T', 3, H / space, W / space]: every `time`-th frame from the first, squares of
    `space` px as their mean. Raises UserError for a size that `space` does not divide.
    """
    low_grid(config, (video.shape[1], video.shape[3], video.shape[4]))
    kept = video[:, :: config.time]
    return F.avg_pool2d(kept.flatten(0, 1), config.space).unflatten(0, kept.shape[:2])


def enlarged(config: FramesConfig, video: torch.Tensor, grid_px: Grid) -> torch.Tensor:
    """A video that is really smaller, float [B, T', 3, H', W'], at the size `grid_px` (frames, height, width): bilinear
    in space, each frame shown until the next. `observed` does the same after it has shrunk. Raises UserError for a
    video of another size than the model's low one.
    """
    low, found = low_grid(config, grid_px), (video.shape[1], video.shape[3], video.shape[4])
    if found != low:
        raise UserError(
            f"this model makes videos of {_words(grid_px)} of ones of {_words(low)}, not of {_words(found)}"
        )
    frames, *sides = grid_px
    large = F.interpolate(video.flatten(0, 1), size=sides, mode="bilinear", align_corners=False)
    # No more than there is to fill: a card may name any number.
    return large.unflatten(0, video.shape[:2]).repeat_interleave(min(config.time, frames), dim=1)[:, :frames]


def check_observed(config: FramesConfig, grid_px: Grid) -> None:
    """Raises UserError where videos of `grid_px` could not be observed, before one is read."""
    if config.given == "low":
        low_grid(config, grid_px)
    if config.given == "structure" and config.structure == "depth":
        from clipmill.models.conditioning.depth import depth_folder

        depth_folder(config.depth_model)


def low_grid(config: FramesConfig, grid_px: Grid) -> Grid:
    """(frames, height px, width px) of a video -> of its low one. Raises UserError for a size that `space` does not
    divide.
    """
    frames, height, width = grid_px
    if height % config.space or width % config.space:
        raise UserError(
            f"a size of {height}x{width} px is no multiple of conditioning.frames.space={config.space}: choose one that"
            " is"
        )
    return -(-frames // config.time), height // config.space, width // config.space


def _words(grid_px: Grid) -> str:
    return f"{grid_px[0]} frames of {grid_px[1]}x{grid_px[2]} px"
