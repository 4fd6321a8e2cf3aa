"""What is given of a whole video: at fewer pixels and frames, or its structure."""

from pathlib import Path

import pytest
import torch

from clipmill import models
from clipmill.curate.errors import UserError
from clipmill.models.autoencoder_for import autoencoder_named
from clipmill.models.conditioning.conditioner import Conditioner
from clipmill.models.conditioning.config import ConditioningConfig, FramesConfig
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.conditioning.observation import enlarged, observed, shrunk
from clipmill.models.config import load as load_config
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.loading import load
from clipmill.models.network import seeded_network
from clipmill.models.pixels import as_floats, standardised
from clipmill.models.training.data.batch import VideoBatch
from clipmill.models.training.objectives.diffusion import DiffusionObjective

torch.set_num_threads(1)
CHANNELS = 3
QUICK = {"data.workers": 0, "train.log_every": 1, "train.validate_every": 0, "data.sizes": ["16x16"]}


def video(batch=2, frames=5, height=8, width=12, seed=0):
    return torch.rand(batch, frames, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize(("space", "time"), [(2, 1), (1, 2), (4, 3), (2, 7), (1, 10**12)])
def test_a_video_that_is_really_smaller_is_enlarged_as_in_training(space: int, time: int):
    config, x = FramesConfig("low", space=space, time=time), video()
    low = shrunk(config, x)
    assert low.shape == (2, -(-5 // time), 3, 8 // space, 12 // space)
    assert torch.equal(enlarged(config, low, (5, 8, 12)), observed(config, x))
    assert observed(config, x).shape == x.shape


def test_low_is_means_of_squares_held_in_time_and_straight_between():
    x = video(batch=1, frames=3)
    low = shrunk(FramesConfig("low", space=4, time=2), x)
    assert torch.allclose(low[0, 1, :, 1, 2], x[0, 2, :, 4:8, 8:12].mean((1, 2)))
    held = observed(FramesConfig("low", space=1, time=2), x)
    assert torch.equal(held, x[:, [0, 0, 2]])
    ramp = torch.linspace(-1, 1, 8).expand(1, 1, 3, 8, 8)
    inside = observed(FramesConfig("low", space=2), ramp)[..., 1:-1]
    assert torch.allclose(inside, ramp[..., 1:-1], atol=1e-6)


def test_videos_that_do_not_fit_the_low_size_are_refused():
    config = FramesConfig("low", space=4, time=2)
    with pytest.raises(UserError, match=r"no multiple of conditioning\.frames\.space=4"):
        observed(config, video(height=10))
    with pytest.raises(UserError, match="5 frames of 8x12 px of ones of 3 frames of 2x3 px, not of 3 frames of 4x6 px"):
        enlarged(config, video(frames=3, height=4, width=6), (5, 8, 12))


@pytest.mark.parametrize("perturbation", ["none", "log-normal", "uniform"])
def test_without_noise_what_is_given_stays_bit_by_bit(perturbation: str):
    config = FramesConfig("low", perturbation=perturbation, sampling_noise=0.0)
    conditioner, noise = Conditioner(ConditioningConfig(frames=config), CHANNELS), SampleNoise(0, [0, 1])
    made = conditioner.conditions(["", ""], {}, [None, None])
    found = conditioner.with_observed(made, video(), noise)
    assert torch.equal(found.frames[:, :, :CHANNELS], video())
    assert bool((found.frames[:, :, CHANNELS] == 1).all())
    if perturbation != "none":
        assert found.micro_known.tolist() == [[True]] * 2
        assert not bool(found.micro.any())


def test_only_a_model_of_whole_videos_takes_one_and_it_takes_no_frames():
    noise = SampleNoise(0, [0, 1])
    with pytest.raises(UserError, match="given no whole video"):
        Conditioner(ConditioningConfig(frames=FramesConfig("first")), CHANNELS).with_observed(
            Conditions(), video(), noise
        )
    with pytest.raises(UserError, match=r"given=low\), not frames"):
        Conditioner(ConditioningConfig(frames=FramesConfig("low")), CHANNELS).with_known_frames(
            Conditions(), video()[:, :1], 5, noise
        )


def test_training_shows_what_is_observed_of_a_clip_and_of_each_image_behind_it():
    """Time is held within the clip alone, and images behind it are observed each by itself."""
    sets = ["conditioning.frames.given=low", "conditioning.frames.time=2", "data.images_per_clip=2", "data.cache=none"]
    config = load_config("demo-nano", sets)
    autoencoder, frames = autoencoder_named("pixels", {"space_factor": 4}), config.conditioning.frames
    objective = DiffusionObjective(config, seeded_network(config, autoencoder), autoencoder, torch.device("cpu"))
    x = torch.randint(0, 256, (2, 5, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    alone = (torch.arange(5) >= 3).expand(2, -1)
    batch = VideoBatch(0, 2, (0, 1), ("a", "b"), x, None, ("", ""), {}, (None, None), alone)
    noise = SampleNoise(0, batch.indices)
    z, seen = objective.encoded(batch, noise)
    conditions, weights = objective.conditions(batch, z, noise, drop=False, seen=seen)
    parts = [as_floats(x[:, :3]), as_floats(x[:, 3:4]), as_floats(x[:, 4:])]
    shown = torch.cat([autoencoder.encode(observed(frames, part)).mean for part in parts], 1)
    assert torch.equal(conditions.frames[:, :, :-1], standardised(shown, autoencoder))
    assert bool((conditions.frames[:, :, -1] == 1).all())
    assert weights is None, "all frames are to be made"
    assert torch.equal(z, standardised(autoencoder.encode(as_floats(x)).mean, autoencoder))
    asked: list[Conditions] = []
    objective.network.register_forward_hook(lambda module, arguments, output: asked.append(arguments[2]))
    objective("model", batch, 0)
    given = asked[0].frames[:, :, :-1].flatten(1)
    assert all(torch.equal(row, whole) or not row.any() for row, whole in zip(given, shown.flatten(1), strict=True))


def test_a_model_is_trained_on_low_videos_and_sampled_from_one(tiny_run: Path, tmp_path: Path):
    """Once from pixels, once from cached latents, which keep what is given too: the same weights, bit by bit."""
    given = {"conditioning.frames.given": "low", "conditioning.frames.time": 2, "train.steps": 2}
    for cache in ("none", "latents"):
        settings = QUICK | given | {"data.cache": cache}
        models.train(tiny_run, tmp_path / cache, "demo-nano", settings, device="cpu", tell=None)
    weights = [tmp_path / cache / "steps/00000002/weights.safetensors" for cache in ("none", "latents")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    loaded = load(tmp_path / "none")
    generator, noise = loaded.generator(torch.device("cpu")), SampleNoise(0, [0, 1])

    def made(small: torch.Tensor) -> torch.Tensor:
        large = enlarged(loaded.config.conditioning.frames, small, (4, 16, 16))
        seen = standardised(loaded.autoencoder.encode(large).mean, loaded.autoencoder)
        conditions = loaded.network.conditioner.with_observed(Conditions(), seen, noise)
        return generator.videos(loaded.autoencoder.latent_grid((4, 16, 16)), conditions, noise)

    one, other = (made(video(frames=2, height=8, width=8, seed=seed)) for seed in (0, 1))
    assert one.shape == (2, 4, 3, 16, 16)
    assert not torch.equal(one, other), "what is given reaches the network"
