"""Stable Video Diffusion: its stages, its picture, its camera moves."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.denoising_oracles import one_thread  # noqa: F401
from helpers.gaussian_system import PIXEL_STD, gaussian_generator, markov, prompts
from helpers.sides import predicted, side, trained

from clipmill.curate.errors import UserError
from clipmill.curate.tables.run_dir import RunDir
from clipmill.curate.tables.run_json import read_exported
from clipmill.models.adapt.along_time import temporal_names
from clipmill.models.adapt.branches import is_branch
from clipmill.models.adapt.bringing import Side, bring
from clipmill.models.adapt.what_learns import learning_names
from clipmill.models.autoencoder_for import autoencoder_of
from clipmill.models.conditioning.conditioner import Conditioner
from clipmill.models.conditioning.config import ConditioningConfig, FramesConfig, ReferenceConfig
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.conditioning.reference import Thumbnail, reference_encoder_of
from clipmill.models.config import load
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.files import write_mp4
from clipmill.models.network import seeded_network
from clipmill.models.settings.learn import learn_of
from clipmill.models.stages.extension import Extension, extended
from clipmill.models.stages.following import made_of
from clipmill.models.stages.plain import plain
from clipmill.models.stages.taking import Taking, Window
from clipmill.models.training.data.batch import VideoBatch
from clipmill.models.training.data.buckets import make_buckets
from clipmill.models.training.objectives.diffusion import DiffusionObjective

PAGE = Path(__file__).resolve().parents[3] / "docs" / "systems" / "svd.md"
CPU = torch.device("cpu")


def pictures(count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, 20, 30), dtype=torch.uint8, generator=generator)


@torch.no_grad()
def without_cross_attention(made: Side) -> Side:
    for name, parameter in made.network.named_parameters():
        if ".cross.output." in name:
            parameter.zero_()
    return made


def test_each_stage_begins_as_the_one_before():
    image, videos = trained(side("svd-image-nano")), side("svd-pretrain-nano", seed=5)
    report = bring(image, videos, "image")
    assert not report.missing
    assert temporal_names(videos.network) <= set(report.new)
    assert torch.equal(predicted(videos), predicted(image)), "frame by frame, bit by bit"
    trained(videos)
    assert (predicted(videos) - predicted(image)).abs().max() > 0.1
    tuned = side("svd-finetune-nano", seed=6)
    report = bring(without_cross_attention(videos), tuned, "videos")
    assert [name for name in report.new if ".cross." not in name and ".norms.1." not in name] == [], "what read text"
    known = {"fps": 7.0, "motion": 0.3}
    torch.testing.assert_close(predicted(tuned, **known), predicted(videos, **known), rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_picture_is_heard_through_cross_attention_and_left_out_it_is_not_there():
    tuned = trained(side("svd-finetune-nano"))
    conditioner = tuned.network.get_submodule("conditioner")
    z = torch.randn(2, 3, 12, 8, 8, generator=torch.Generator().manual_seed(1))

    def said(conditions: Conditions) -> torch.Tensor:
        return tuned.network(z, torch.tensor([0.3, 0.6]), conditions)

    blank = conditioner.conditions(["", ""], {}, [None, None])
    given, other = (conditioner.with_reference(blank, some) for some in (pictures(), pictures().flip(0)))
    found = conditioner(given)
    assert torch.equal(found.tokens, given.reference[:, None])
    assert bool(found.token_mask.all())
    assert torch.equal(found.vector, conditioner(blank).vector), "numbers alone"
    assert not bool(conditioner(blank).token_mask.any())
    for one in (blank, other):
        assert ((said(given) - said(one)).flatten(1).abs().amax(1) > 1e-3).all()
    assert torch.equal(said(conditioner.unconditional(given)), said(blank))
    every = replace(conditioner.config, drop_all=1.0)
    dropping = Conditioner(every, conditioner.latent_channels)
    assert torch.equal(said(dropping.dropped(given, SampleNoise(0, [0, 1]))), said(blank))
    without_cross_attention(tuned)
    assert torch.equal(said(given), said(blank))


class ShowsThePicture(torch.nn.Module):
    """As `Network`: every pixel is the mean of the picture, times `share`."""

    knows_images = False

    def __init__(self, latent_channels: int, share: float = 1.0) -> None:
        super().__init__()
        self.share = share
        reference = ReferenceConfig("thumbnail", frame="first", place="tokens")
        config = ConditioningConfig(reference=reference, frames=FramesConfig("first"))
        self.conditioner = Conditioner(config, latent_channels)

    def forward(self, z, noise_level, conditions):
        return (self.share * conditions.reference.mean(dim=1) / PIXEL_STD)[:, None, None, None, None].expand_as(z)


def test_the_first_frame_is_the_picture_in_training_alone_and_in_a_chain(tmp_path: Path):
    config = load("svd-finetune-nano")
    autoencoder = autoencoder_of(config.autoencoder, CPU)
    objective = DiffusionObjective(config, seeded_network(config, autoencoder), autoencoder, CPU)
    video = torch.randint(0, 256, (2, 4, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    numbers = {"fps": torch.tensor([8.0, 8.0]), "motion": torch.tensor([0.1, 0.2])}
    batch = VideoBatch(0, 2, (0, 1), ("a", "b"), video, None, ("", ""), numbers, (None, None), None)
    noise = SampleNoise(0, batch.indices)
    conditions, _ = objective.conditions(batch, objective.latents(batch, noise), noise, drop=False)
    assert torch.equal(conditions.reference, Thumbnail().encode(video[:, 0]))

    usual = gaussian_generator(markov(4, 0.8))
    generator = replace(usual, network=ShowsThePicture(usual.autoencoder.latent_channels))
    first = torch.full((2, 3, 2, 2), 160, dtype=torch.uint8)
    first[1] = 60
    wanted = [replace(prompt, first=picture) for prompt, picture in zip(prompts(2), first, strict=True)]
    alone = plain((4, 2, 2))(generator, wanted, SampleNoise(0, range(2)))
    for number, picture in enumerate(first):
        write_mp4(tmp_path / f"{number:06d}.mp4", picture[None], 8.0, lossless=True)
    chained = made_of(Taking("", (4, 2, 2), [Window(0, 4, 0, 1)], 4, 0), tmp_path)
    for videos in (alone, chained(generator, prompts(2), SampleNoise(0, range(2)))):
        assert (videos[:, 1:].float().mean(dim=(1, 2, 3, 4)) - torch.tensor([160.0, 60.0])).abs().max() <= 1
    asked = [replace(prompt, reference=first[1]) for prompt in wanted[:1]]
    assert plain((4, 2, 2))(generator, asked, SampleNoise(0, [0]))[:, 1:].float().mean() == pytest.approx(60, abs=1)


def test_each_window_of_a_long_video_has_the_frame_it_begins_with_for_a_picture():
    usual = gaussian_generator(markov(4, 0.8))
    generator = replace(usual, network=ShowsThePicture(usual.autoencoder.latent_channels, 0.5))
    wanted = prompts(1, first=torch.full((3, 2, 2), 255, dtype=torch.uint8))
    video = extended(Extension(10, (4, 2, 2), 1, 1))(generator, wanted, SampleNoise(0, [0]))
    brightness = (video.double().mean(dim=(0, 2, 3, 4)) / 127.5 - 1).tolist()
    assert brightness == pytest.approx([1.0] + 3 * [0.5] + 3 * [0.25] + 3 * [0.125], abs=0.02)


def test_a_camera_move_is_branches_of_attention_along_time_and_nothing_else():
    tuned, camera = trained(side("svd-finetune-nano")), side("svd-camera-nano", "train.init=svd", seed=5)
    report = bring(tuned, camera, "svd")
    assert torch.equal(predicted(camera), predicted(tuned)), "at the start they are nothing, bit by bit"
    learning = learning_names(camera.network, learn_of(camera.config.train.learn), report.unlearned)
    assert learning
    assert all(map(is_branch, learning))
    places = {name.rpartition(".")[0] for name in learning}
    assert {f"{place}.weight" for place in places} <= temporal_names(camera.network)
    along_time = {name for name in temporal_names(camera.network) if name.endswith("attention.query_key_value.weight")}
    assert {f"{place}.weight" for place in places} >= along_time != set(), "of all layers"


def test_a_camera_move_is_trained_on_clips_of_its_direction(tiny_run: Path):
    """With the condition of the page."""
    where, direction = re.findall(r"\"data.where=([^\"]*camera_direction = '(\w+)')\"", PAGE.read_text())[0]
    manifest, data = read_exported(RunDir(tiny_run)), load("svd-camera-nano").data
    found, every = (make_buckets(manifest, text, data, lambda grid: 1).table for text in (where, data.where))
    assert set(found["camera_direction"]) == {direction}
    assert 0 < len(found) < len(every)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: load("svd-finetune", ["conditioning.text.encoder=hash"]), "conditioning.text.encoder=none"),
        (lambda: load("svd-finetune", ["conditioning.reference.place=text"]), "vector"),
        (lambda: reference_encoder_of(ReferenceConfig("thumbnail", dim=7)), "has 48 numbers"),
    ],
)
def test_a_picture_without_a_place_is_one_line(make, says: str):
    with pytest.raises(UserError, match=says):
        make()
