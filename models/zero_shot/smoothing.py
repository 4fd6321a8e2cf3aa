"""The interleaved-frame smoother (ControlVideo, Zhang et al. 2023, 2305.13077, section 3.3)."""

from collections.abc import Callable

import torch

from clipmill.models.core.denoiser import Denoiser
from clipmill.models.core.noise_level import NoiseLevel, over
from clipmill.models.core.parametrisation import Estimate, estimate_of_x0
from clipmill.models.core.sampling_levels import step_at
from clipmill.models.zero_shot.motion import station_at

# Latents float [B, T, C, h, w] as pixels, and back.
Codec = tuple[Callable[[torch.Tensor], torch.Tensor], Callable[[torch.Tensor], torch.Tensor]]


def between_neighbours(video: torch.Tensor, first: int) -> torch.Tensor:
    """float [B, T, ...] -> the same, frames first, first + 2 ... each replaced by the mean of the two beside it. The
    first and the last frame of the video stay: the released code makes them of themselves and one neighbour. In place
    of its network (RIFE): exact where what moves lies on a line between its neighbours.
    """
    chosen = places(video.shape[1], first)
    out = video.clone()
    out[:, chosen] = (video[:, [k - 1 for k in chosen]] + video[:, [k + 1 for k in chosen]]) / 2
    return out


def smoothed(denoise: Denoiser, levels: NoiseLevel, share: float, codec: Codec) -> Denoiser:
    """At the step that begins with `share` of the steps still to go, and at the one behind it, frames of x0 are
    `between_neighbours` as pixels: odd ones where the number of the step is even, even ones where it is odd. The next z
    is alpha x0 + sigma eps of the smoothed x0 and the old eps (the released code), for samplers that make one such step
    of each estimate. Other frames' latents stay bit by bit. levels: the sampler's stations.
    """
    steps = len(levels) - 1
    begin = station_at(share, steps)

    def denoised(z: torch.Tensor, level: NoiseLevel) -> Estimate:
        estimate, step = denoise(z, level), step_at(levels, level)
        first = 1 if step % 2 == 0 else 2
        chosen = places(z.shape[1], first)
        if step not in (begin, begin + 1) or not chosen:
            return estimate
        decode, encode = codec
        x0, then = estimate.x0.clone(), levels[step + 1]
        change = encode(between_neighbours(decode(x0), first))[:, chosen].to(x0) - x0[:, chosen]
        # An estimate has the eps that belongs to its x0 and z: with the old one the step would go further.
        further = then.alpha / (then.alpha - then.sigma * level.alpha / level.sigma)
        x0[:, chosen] += over(further, change) * change
        return estimate_of_x0(x0, z, level)

    return denoised


def places(frames: int, first: int) -> list[int]:
    """Every second of so many frames from `first` on, but for the last."""
    return list(range(first, frames - 1, 2))
