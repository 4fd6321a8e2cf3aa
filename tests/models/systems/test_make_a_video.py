"""Make-A-Video: the prior, the start from an image model, the rate, frames between, and one noise for all frames."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import invoke, models, one_line

from clipmill.curate.dataset import decode_window
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_exported
from clipmill.curate.video.resize_to_cover import covered
from clipmill.models.adapt.bringing import Side, bring
from clipmill.models.autoencoder_for import autoencoder_of
from clipmill.models.conditioning.given_frames import given_frames
from clipmill.models.conditioning.reference import Thumbnail
from clipmill.models.config import ModelConfig
from clipmill.models.config import load as load_config
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.conditions import conditions_of
from clipmill.models.generate.files import write_mp4
from clipmill.models.generate.loading import load
from clipmill.models.generate.prompts import Prompt
from clipmill.models.generate.sampling import Generator
from clipmill.models.network import Diffusion, Network, seeded_network
from clipmill.models.pixels import restored
from clipmill.models.stages.following import made_of
from clipmill.models.stages.taking import Taking, cut, meeting
from clipmill.models.training.data.batch_plan import Draw
from clipmill.models.training.data.buckets import make_buckets
from clipmill.models.training.data.windows import Windows

CPU = torch.device("cpu")
QUICK = ("--device", "cpu", "--steps", "2", "--set", "train.validate_every=0")


def stirred(network: torch.nn.Module) -> torch.nn.Module:
    """What starts at zero does something."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) / 20)
    return network.eval()


def network_of(name: str) -> tuple[ModelConfig, Network]:
    config = load_config(f"{name}-nano")
    return config, seeded_network(config, autoencoder_of(config.autoencoder, CPU))


@torch.no_grad()
def test_the_video_model_begins_as_its_image_model():
    """Frame by frame, difference 0.0; the rate, which is new, says nothing yet."""
    before, image = network_of("make-a-video-image")
    config, video = network_of("make-a-video")
    bring(Side(stirred(image), before), Side(video, config), "the image model")
    z = torch.randn(2, 3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    level, shown = torch.tensor([0.3, 0.7]), torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    numbers = {"fps": torch.tensor([5.0, 25.0])}
    told = video.conditioner.with_reference(video.conditioner.conditions(["", ""], numbers, [None] * 2), shown)
    plain = image.conditioner.with_reference(image.conditioner.conditions(["", ""], {}, [None] * 2), shown)
    found = video(z, level, told)
    alone = torch.cat([image(z[:, k : k + 1], level, plain) for k in range(3)], dim=1)
    assert float((found - alone).abs().max()) == 0.0
    assert float(found.abs().max()) > 0.1
    moved = video(z.flip(1), level, told).flip(1)
    assert torch.equal(found, moved), "no frame knows of another yet"
    assert not torch.equal(stirred(video)(z.flip(1), level, told).flip(1), video(z, level, told))


@torch.no_grad()
def test_the_rate_is_told():
    _, video = network_of("make-a-video")
    conditioner, z = stirred(video).conditioner, torch.zeros(1, 3, 3, 8, 8)
    slow, fast = (conditioner.conditions([""], {"fps": torch.tensor([fps])}, [None]) for fps in (5.0, 25.0))
    assert slow.micro.tolist() == [[pytest.approx(math.log(6))]]
    level = torch.tensor([0.5])
    assert not torch.allclose(video(z, level, slow), video(z, level, fast), atol=1e-4)


def test_every_window_has_a_rate_of_its_own(tiny_run: Path):
    """The same every time, as far as the clip goes; its frames lie so far from one another as the rate says."""
    table, several = read_exported(RunDir(tiny_run)).to_pandas(), load_config("make-a-video-nano").data
    for windows_each in (None, 3):  # decoded one by one, and whole
        data = replace(several, stride=2, max_stride=40, frames=(3,), sizes=("16x16",), windows=windows_each)
        buckets = make_buckets(table, "", data, lambda grid: 1)
        windows = Windows(tiny_run, buckets.table, buckets.buckets, data, seed=0)
        row = buckets.buckets[0].rows[0]
        found = [windows[Draw(0, row, epoch, 0)] for epoch in range(3)]
        assert [one.fps for one in found] == [windows[Draw(0, row, epoch, 0)].fps for epoch in range(3)]
        strides = [round(24 / one.fps) for one in found]
        assert len(set(strides)) > 1
        assert set(strides) <= set(range(2, 24)), "clips of 48 frames, 24 a second"
        whole = covered(decode_window(windows.clips.read(row), None, 1, np.random.default_rng(0))[0], 16, 16)
        for one, stride in zip(found, strides, strict=True):
            places = [k for k in range(len(whole) - 2 * stride) if torch.equal(one.video, whole[k::stride][:3])]
            assert len(places) == 1


def test_sixteen_frames_become_seventy_six():
    for small, frames in (("", (16, 76)), ("-nano", (3, 11))):
        decoder, between = (load_config(f"make-a-video{name}{small}") for name in ("", "-interpolate"))
        assert (decoder.data.frames[0], between.data.frames[0]) == frames
        given = given_frames(between.conditioning.frames, frames[1], SampleNoise(0, range(5)))
        assert [row.nonzero().flatten().tolist() for row in given] == [list(range(0, frames[1], 5))] * 5
        assert meeting(frames[0], frames[0], 5)[0].frames == frames[1]
        assert decoder.data.stride == 5 * between.data.stride


@pytest.mark.parametrize("noise", ["same", "own"])
def test_the_same_frames_stay_the_same(noise: str, tmp_path: Path):
    """Of a still video the last model makes a still one, in several windows, with noise on what it is given."""
    config = load_config("make-a-video-larger-nano", [f"diffusion.frame_noise={noise}", "sample.steps=2"])
    autoencoder = autoencoder_of(config.autoencoder, CPU)
    network = stirred(seeded_network(config, autoencoder))
    generator = Generator(network, autoencoder, Diffusion(config), config.sample, CPU)
    picture = torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    write_mp4(tmp_path / "000000.mp4", picture.expand(5, -1, -1, -1), 8.0, lossless=True)
    taking = Taking("", (5, 32, 32), cut(5, 3, 1), 0, 1)
    made = made_of(taking, tmp_path)(generator, [Prompt(0, "", None, {})], SampleNoise(0, [0]))
    assert made.shape == (1, 5, 3, 32, 32)
    assert float(made.float().std()) > 5
    assert bool((made == made[:, :1]).all()) == (noise == "same")


def test_one_noise_for_all_frames_is_drawn_in_training_too():
    fresh = SampleNoise(0, [3, 4])
    alike = replace(fresh, alike=True)
    one, other = alike.normal((5, 3, 2, 2), "noise"), fresh.normal((5, 3, 2, 2), "noise")
    assert torch.equal(one, other[:, :1].expand_as(one))
    assert torch.equal(alike.normal((5,), "masks"), fresh.normal((5,), "masks")), "of videos alone"
    assert alike.of_part("window 1").alike


@pytest.fixture(scope="module")
def trained(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("make-a-video")
    for name in ("make-a-video-prior", "make-a-video-image"):
        models("train", tiny_run, "--config", f"{name}-nano", "--out", root / name, *QUICK)
    return root


def test_the_decoder_is_shown_what_the_prior_makes(trained: Path, tmp_path: Path):
    prior = trained / "make-a-video-prior"
    loaded = load(trained / "make-a-video-image", overrides=(f"sample.prior={prior}",))
    assert loaded.reads_text
    assert (loaded.autoencoder.decodes, loaded.prior.autoencoder.decodes) == (True, False)
    stirred(loaded.prior.network)
    generator = loaded.generator(CPU)
    wanted = [Prompt(k, text, None, {}, seed=7) for k, text in enumerate(["a red ball", "snow at night"])]
    shown = conditions_of(generator, wanted, (1, 8, 8)).reference
    noise = SampleNoise(7, [0, 1], "prior, ")
    conditions = generator.prior.network.conditioner.conditions([w.caption for w in wanted], {}, [None] * 2)
    z = generator.prior.latents((1, 1, 1), conditions, noise)
    assert torch.allclose(shown, restored(z, generator.prior.autoencoder)[:, 0, :, 0, 0])
    assert shown.shape == (2, Thumbnail.dim)
    other = [replace(one, caption="a dog") for one in wanted]
    assert not torch.allclose(conditions_of(generator, other, (1, 8, 8)).reference, shown, atol=1e-3)
    again = [replace(one, seed=8) for one in wanted]
    assert not torch.allclose(conditions_of(generator, again, (1, 8, 8)).reference, shown, atol=1e-3)
    picture = torch.full((3, 8, 8), 255, dtype=torch.uint8)
    given = [replace(one, reference=picture) for one in wanted]
    assert torch.equal(conditions_of(generator, given, (1, 8, 8)).reference, torch.ones(2, Thumbnail.dim))
    statistics = loaded.prior.autoencoder.latent_mean
    assert bool(statistics.any()), "measured on training pictures"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("PRIOR",), "makes embeddings: models sample OTHER --set sample.prior="),
        (("PRIOR", "--set", "sample.prior=PRIOR"), "not conditioned on a reference picture"),
        (("IMAGE", "--set", "sample.prior=IMAGE"), "makes videos, not embeddings"),
        (("IMAGE", "--set", "sample.prior=NOWHERE"), "no checkpoint"),
        (("IMAGE", "--caption", "a dog"), "not conditioned on text"),
    ],
)
def test_what_does_not_fit_is_one_line(words: tuple[str, ...], says: str, trained: Path, tmp_path: Path):
    places = {"PRIOR": "make-a-video-prior", "IMAGE": "make-a-video-image", "NOWHERE": "nowhere"}
    for name, folder in places.items():
        words = tuple(word.replace(name, str(trained / folder)) for word in words)
    one_line(invoke("models", "sample", *words, "--out", tmp_path / "s", "--n", 1, "--device", "cpu"), says)
    if "prior" in words[0]:
        one_line(invoke("models", "floor", trained / places["PRIOR"], "--out", tmp_path / "f"), "makes embeddings")


def test_a_prior_that_a_card_names_is_read_only_where_it_is_asked_for(trained: Path, tmp_path: Path):
    own = shutil.copytree(trained / "make-a-video-image", tmp_path / "own")
    card = json.loads((own / "card.json").read_text())
    card["config"]["sample"]["prior"] = str(own)
    (own / "card.json").write_text(json.dumps(card))
    sample = ("models", "sample", own, "--out", tmp_path / "s", "--device", "cpu")
    one_line(invoke(*sample), "it is read where you ask for it")
    one_line(invoke(*sample, "--set", f"sample.prior={own}"), "a prior of its own")
