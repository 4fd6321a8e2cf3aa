"""Imagen Video: which of its models attend along time, what noise on what is given does, and parts of pictures."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clipmill.curate.errors import UserError
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_exported
from clipmill.models.autoencoder_for import autoencoder_named
from clipmill.models.conditioning.conditioner import Conditioner
from clipmill.models.conditioning.config import ConditioningConfig, FramesConfig
from clipmill.models.conditioning.observation import observed
from clipmill.models.config import load
from clipmill.models.core.noise import SampleNoise
from clipmill.models.layers.attention import Attention
from clipmill.models.layers.temporal import TemporalConvolutions
from clipmill.models.network import Network
from clipmill.models.pixels import as_floats
from clipmill.models.training.data.batch_plan import Draw
from clipmill.models.training.data.buckets import make_buckets
from clipmill.models.training.data.encoding import Encoding
from clipmill.models.training.data.windows import Windows

SUPER = [f"imagen-video-{name}" for name in ("t1", "s1", "s2", "t2", "t3", "s3")]
LOW = {"given": "low", "space": 1, "time": 2}


def conditioner(**options: object) -> Conditioner:
    return Conditioner(ConditioningConfig(frames=FramesConfig(**LOW, **options)), 3)


def seen(of: Conditioner, seed: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What is given, and what is told of its noise."""
    latents = torch.randn(2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    blank = of.conditions(["", ""], {}, [None, None])
    made = of.with_observed(blank, latents, SampleNoise(seed, [0, 1]))
    assert made.frames is not None
    return made.frames, made.micro


def test_noise_on_what_is_given_is_told_and_at_level_0_there_is_none():
    plain, _ = seen(conditioner(), 0)
    for perturbation in ("uniform", "log-normal"):
        for seed in (0, 1):
            found, told = seen(conditioner(perturbation=perturbation, sampling_noise=0.0), seed)
            assert torch.equal(found, plain), "bit by bit"
            assert told.tolist() == [[0.0], [0.0]]
    noisy, told = seen(conditioner(perturbation="uniform", sampling_noise=0.5), 0)
    assert told.flatten().tolist() == pytest.approx([1 / 3] * 2), "sigma / (alpha + sigma)"
    assert not torch.equal(noisy, plain)
    assert not torch.equal(noisy, seen(conditioner(perturbation="uniform", sampling_noise=0.5), 1)[0])


def test_the_base_alone_attends_along_time_and_the_models_behind_it_convolve():
    for name in ("imagen-video", *SUPER):
        network = Network(load(f"{name}-nano"), 3)
        along_time = [m for m in network.modules() if isinstance(m, Attention) and m.plan.mixes_frames]
        convolutions = [m for m in network.modules() if isinstance(m, TemporalConvolutions)]
        assert bool(along_time) == (name == "imagen-video"), name
        assert bool(convolutions) == (name != "imagen-video"), name
        assert network.conditioner.text_encoder is not None, "text in every stage"
        assert any(place.endswith("cross.query.weight") for place, _ in network.named_parameters()), name


def test_the_models_fit_one_behind_the_other():
    for small in ("", "-nano"):
        before = load(f"imagen-video{small}")
        for name in SUPER:
            config = load(f"{name}{small}")
            frames = config.conditioning.frames
            sides, sides_before = (list(map(int, c.data.sizes[0].split("x"))) for c in (config, before))
            assert config.data.frames[0] == before.data.frames[0] * frames.time, name
            assert sides == [side * frames.space for side in sides_before], name
            assert before.data.stride == config.data.stride * frames.time, name
            assert config.sample.fps == before.sample.fps * frames.time, name
            before = config


def test_training_on_parts_of_pictures_sees_a_part_of_every_window(tiny_run: Path):
    """The same every time, elsewhere in other windows; what is given is made of the part alone."""
    whole = replace(load("imagen-video-s3-nano").data, crop=None, windows=4)
    table = read_exported(RunDir(tiny_run)).to_pandas()

    def videos(data, epochs=range(4)) -> list[torch.Tensor]:
        buckets = make_buckets(table, "", data, lambda grid: grid[1] * grid[2])
        windows = Windows(tiny_run, buckets.table, buckets.buckets, data, seed=0)
        return [windows[Draw(0, buckets.buckets[0].rows[0], epoch, 0)].video for epoch in epochs]

    data = replace(whole, crop="16x24")
    places = []
    for part, around in zip(videos(data), videos(whole), strict=True):
        assert part.shape == (16, 3, 16, 24)
        fits = around.unfold(2, 16, 1).unfold(3, 24, 1).permute(2, 3, 0, 1, 4, 5)
        there = (fits == part).flatten(2).all(dim=2).nonzero()
        assert len(there) == 1
        places.append(tuple(there[0].tolist()))
    assert len(set(places)) > 1
    assert all(torch.equal(*pair) for pair in zip(videos(data), videos(data), strict=True))
    low = replace(load("imagen-video-s3-nano").conditioning.frames, space=4)
    encoding = Encoding(autoencoder_named("pixels", {"space_factor": 1}), low)
    one = videos(data)[0][None]
    _, given = encoding.parted(encoding(one).mean)
    assert torch.equal(given, observed(low, as_floats(one)))


@pytest.mark.parametrize("crop", ["128x32", "10x"])
def test_a_part_larger_than_the_whole_is_one_line(crop: str):
    with pytest.raises(UserError, match=r"crop is a part|HEIGHTxWIDTH"):
        load("imagen-video-s3-nano", [f"data.crop={crop}"])
