"""Given frames as a condition: which of them, with how much noise, and as which channels."""

import torch

from clipmill.models.conditioning.config import FramesConfig
from clipmill.models.core.geometry import Geometry
from clipmill.models.core.noise import SampleNoise
from clipmill.models.core.noise_level import NoiseLevel, noised
from clipmill.models.core.schedules import Cosine, Karras
from clipmill.models.core.timesteps import LogNormal


def frame_channels(config: FramesConfig, latent_channels: int) -> int:
    """Channels that the network sees beside z."""
    if config.given == "none":
        return 0
    return latent_channels if config.layout == "repeat" else latent_channels + 1


def given_frames(config: FramesConfig, frames: int, noise: SampleNoise) -> torch.Tensor:
    """bool [B, T], True for frames that are given in training; never all of them, so never the only one, but where
    what is given is a video of its own.
    """
    batch, place = len(noise.sample_indices), torch.arange(frames)
    if config.given == "none":
        return torch.zeros(batch, frames, dtype=torch.bool)
    if config.needs_pixels:
        return torch.ones(batch, frames, dtype=torch.bool)
    if config.given == "first":
        given = (place == 0).repeat(batch, 1)
    else:
        given = _tasks(config, frames, noise)[_kinds(config, noise), torch.arange(batch)]
    given[given.all(dim=1), -1] = False
    return given


def _kinds(config: FramesConfig, noise: SampleNoise) -> torch.Tensor:
    """int64 [B]: the task of each sample, by its place in `FramesConfig.tasks`; one more for none."""
    shares = torch.tensor(list(config.tasks.values()), dtype=torch.float64)
    return torch.searchsorted(shares.cumsum(0), noise.uniform("given frames, task"), right=True)


def _tasks(config: FramesConfig, frames: int, noise: SampleNoise) -> torch.Tensor:
    """bool [7, B, T]: what each task would give each sample, and nothing."""
    batch, place = len(noise.sample_indices), torch.arange(frames)
    count = _count(noise.uniform("given frames, count"), config.context_frames, frames - 1)
    last = place == frames - 1
    made = {
        "prediction": place < count,
        "interpolation": (place == 0) | last,
        "random": noise.normal((frames,), "given frames, random") > 0,
        "backward": place >= frames - count,
        "every": (place % config.every_nth == 0) | last,
        "past_future": _past_future(config, frames, noise),
    }
    none = torch.zeros(batch, frames, dtype=torch.bool)
    return torch.stack([*(made[name].expand(batch, frames) for name in config.tasks), none])


def _past_future(config: FramesConfig, frames: int, noise: SampleNoise) -> torch.Tensor:
    """bool [B, T]: a block at the beginning and one at the end, each there or not by a coin of its own."""
    place, most = torch.arange(frames), (frames - 1) // 2
    lengths = [
        _count(noise.uniform(f"given frames, {name}"), config.context_frames, most)
        * (noise.uniform(f"given frames, {name} there") < 0.5).unsqueeze(1)
        for name in ("past", "future")
    ]
    return (place < lengths[0]) | (place >= frames - lengths[1])


def _count(uniform: torch.Tensor, wanted: int, most: int) -> torch.Tensor:
    """int64 [B, 1]: 1 to `wanted`, or to `most` where that is fewer, each as often."""
    return 1 + (uniform * max(1, min(wanted, most))).long().unsqueeze(1)


def training_level(config: FramesConfig, noise: SampleNoise) -> NoiseLevel:
    """Of the noise on given frames, [B]; see FramesConfig."""
    uniform = noise.uniform("given frames, level")
    if config.perturbation == "log-normal":
        return LogNormal(config.noise_mean, config.noise_std).level(uniform, Karras())
    if config.perturbation == "uniform":
        return Cosine().level(uniform * config.max_time)
    return sampling_level(config, len(uniform))


def sampling_level(config: FramesConfig, batch: int) -> NoiseLevel:
    """Of the noise on given frames when sampling, [B]: alpha exactly 1 and sigma exactly 0 where there is none."""
    signal = torch.ones(batch, dtype=torch.float64)
    ratio = config.sampling_noise if config.perturbed else 0.0
    geometry = Geometry.PRESERVING if config.perturbation == "uniform" else Geometry.EXPLODING
    return geometry.level(signal, signal * ratio)


def perturbed(latents: torch.Tensor, given: torch.Tensor, level: NoiseLevel, noise: SampleNoise) -> torch.Tensor:
    """The given frames (bool [B, T] on the CPU) with noise, zeros elsewhere, like latents float [B, T, C, h, w]; at
    level 0 they are unchanged bit by bit.
    """
    reach = int(given.any(dim=0).nonzero().max()) + 1 if bool(given.any()) else 0
    given = given.to(latents.device)
    seen = torch.where(given[:, :, None, None, None], latents, 0.0)
    if not reach or not bool(level.sigma.any()):
        return seen
    # Frames come first in the noise of a sample, so that how many are drawn changes none of them.
    eps = noise.normal((reach, *latents.shape[2:]), "given frames, noise").to(seen)
    with_noise = torch.where(
        given[:, :reach, None, None, None], noised(seen[:, :reach], eps, level).to(seen.dtype), 0.0
    )
    return torch.cat([with_noise, seen[:, reach:]], dim=1)


def as_channels(
    config: FramesConfig, seen: torch.Tensor, given: torch.Tensor, independent: torch.Tensor | None
) -> torch.Tensor:
    """Of the given frames float [B, T, C, h, w], zeros elsewhere: float [B, T, `frame_channels`, h, w]. independent:
    bool [B, T]; images of their own are shown no other frame.
    """
    if config.layout != "repeat":
        mask = given[:, :, None, None, None].to(seen).expand(-1, -1, 1, *seen.shape[3:])
        shown = _nearest(seen, given, independent) if config.layout == "nearest" else seen
        return torch.cat([shown, mask], dim=2)
    first = seen[:, :1].expand_as(seen)
    return first.contiguous() if independent is None else torch.where(independent[:, :, None, None, None], 0.0, first)


def _nearest(seen: torch.Tensor, given: torch.Tensor, independent: torch.Tensor | None) -> torch.Tensor:
    """Each frame of [B, T, C, h, w] replaced by the nearest that is given, the earlier of two; zeros where none is, and
    for images of their own.
    """
    place = torch.arange(given.shape[1])
    far = torch.where(given.cpu()[:, None], (place[:, None] - place).abs(), len(place))
    # Of several that are least, argmin names the first.
    chosen = far.argmin(dim=2).to(seen.device)
    shown = seen[torch.arange(len(seen), device=seen.device)[:, None], chosen]
    return shown if independent is None else torch.where(independent[:, :, None, None, None], 0.0, shown)


def given_of(config: FramesConfig, channels: torch.Tensor) -> torch.Tensor:
    """bool [B, T], by the mask of all layouts but `repeat`, after some samples have dropped theirs."""
    assert config.layout != "repeat"
    return channels[:, :, -1, 0, 0] > 0


def in_place(z: torch.Tensor, config: FramesConfig, channels: torch.Tensor) -> torch.Tensor:
    """z float [B, T, C, h, w] with the given frames in the place of its own."""
    given = given_of(config, channels)[:, :, None, None, None]
    return torch.where(given, channels[:, :, :-1].to(z.dtype), z)
