"""Motion put into the latents of one picture (Text2Video-Zero, Khachatryan et al. 2023, 2303.13439, section 3.3.1)."""

import math

import torch

from clipmill.models.core.noise_level import NoiseLevel, over


def moved(picture: torch.Tensor, frames: int, step: tuple[float, float]) -> torch.Tensor:
    """float [B, 1, C, h, w] -> [B, frames, C, h, w]: frame k shows it k steps further. step: to the right and down, in
    latents of a frame; each frame is moved by whole ones, the nearest, and reflected at its borders.
    """
    height, width = picture.shape[-2:]
    found = []
    for k in range(frames):
        right, down = (round(k * each) for each in step)
        rows, columns = (_source(side, by).to(picture.device) for side, by in ((height, down), (width, right)))
        found.append(picture[..., rows[:, None], columns])
    return torch.cat(found, dim=1)


def noised_further(z: torch.Tensor, now: NoiseLevel, then: NoiseLevel, eps: torch.Tensor) -> torch.Tensor:
    """z float [B, T, C, h, w] at the level `now` -> at the noisier `then`, by the forward chain (DDPM): z_t = (alpha_t
    / alpha_s) z_s + sqrt(sigma_t² - (alpha_t / alpha_s)² sigma_s²) eps. eps: standard normal like z.
    """
    kept = then.alpha / now.alpha
    added = (then.sigma.square() - kept.square() * now.sigma.square()).clamp(min=0).sqrt()
    return over(kept, z) * z + over(added, z) * eps.to(z)


def station_at(share: float, steps: int) -> int:
    """The first station of a sampler of so many steps at which at most `share` of them are still to go."""
    return min(steps, math.ceil((1 - share) * steps - 1e-9))


def _source(side: int, by: int) -> torch.Tensor:
    """int64 [side]: from where each place gets its value; behind the border stands the picture's mirror image."""
    place = (torch.arange(side) - by) % (2 * side)
    return torch.minimum(place, 2 * side - 1 - place)
