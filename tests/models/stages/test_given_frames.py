"""`models sample --first, --last, --extend`: what is given stays, and the rest follows from it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.commands import invoke, models, one_line
from helpers.denoising_oracles import one_thread  # noqa: F401
from helpers.gaussian_system import correlations, gaussian_generator, markov, prompts
from PIL import Image

from clipmill.curate.errors import UserError
from clipmill.models.autoencoders.pixels import Pixels, PixelsConfig
from clipmill.models.conditioning.config import FramesConfig
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.files import write_mp4
from clipmill.models.generate.loading import load
from clipmill.models.stages.asked import check_asked
from clipmill.models.stages.extension import Extension, extended
from clipmill.models.stages.plain import plain
from clipmill.models.stages.request import Request
from clipmill.models.stages.sample_folder import frames_of

RHO = 0.8
QUICK = ("--set", "sample.steps=2", "--device", "cpu")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Of another shape than the videos: 36x24 px, brighter to the right."""
    row = np.linspace(0, 255, 36).round().astype(np.uint8)
    pixels = np.broadcast_to(row[None, :, None], (24, 36, 3)).copy()
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def made(generator, make, count: int, **ends: torch.Tensor) -> torch.Tensor:
    return make(generator, prompts(count, **ends), SampleNoise(0, range(count)))


@pytest.mark.parametrize("context", [1, 2])
def test_a_chain_of_windows_is_distributed_as_one_long_video(context: int):
    """Ten frames in windows of four: where the last frame says all of what comes, the joint covariance is that of all
    ten, but for the error of 40 steps (variances lose 5 %) and of 500 videos of 12 numbers.
    """
    generator = gaussian_generator(markov(4, RHO))
    plan = Extension(10, (4, 2, 2), context, context)
    videos = made(generator, extended(plan), 500)
    assert videos.shape == (500, 10, 3, 2, 2)
    assert float((correlations(videos) - markov(10, RHO)).abs().max()) < 0.1


def test_a_longer_video_begins_with_the_shorter_ones_bit_by_bit():
    generator = gaussian_generator(markov(4, RHO))
    videos = [made(generator, extended(Extension(n, (4, 2, 2), 2, 2)), 3) for n in (6, 9, 12)]
    assert torch.equal(videos[1][:, :6], videos[0])
    assert torch.equal(videos[2][:, :9], videos[1])
    assert torch.equal(made(generator, plain((4, 2, 2)), 3), videos[0][:, :4])
    assert len({frame.numpy().tobytes() for frame in videos[2][0]}) == 12, "each window has noise of its own"


def test_latents_of_several_frames_are_encoded_again():
    """Two frames a latent: what a window is given is the latents of the frames that were made, not those made."""
    generator = gaussian_generator(markov(4, RHO), time_factor=2)
    videos = [made(generator, extended(Extension(n, (8, 2, 2), 2, 4)), 300) for n in (11, 16)]
    assert videos[0].shape[1] == 11
    assert torch.equal(videos[1][:, :11], videos[0])
    assert float((correlations(videos[1][:, ::2]) - markov(8, RHO)).abs().max()) < 0.12


@pytest.mark.parametrize("known", ["trained", "replacement", "guidance"])
def test_given_ends_stay_and_the_frames_between_lean_to_them(known: str):
    generator = gaussian_generator(markov(4, 0.95), known=known)
    first = torch.full((3, 2, 2), 160, dtype=torch.uint8)
    videos = made(generator, plain((4, 2, 2)), 200, first=first, last=255 - first)
    assert bool((videos[:, 0] == 160).all())
    assert bool((videos[:, -1] == 95).all())
    middle = videos[:, 1:3].double().mean(dim=(0, 2, 3, 4)) - 127.5
    # The conditional mean is 10.8 and -10.8; replacement hardly tells, which is what guidance is for.
    low, high = {"trained": (9.3, 12.3), "replacement": (1.0, 9.0), "guidance": (7.0, 14.0)}[known]
    assert low < float(middle[0]) < high
    assert low < -float(middle[1]) < high


def test_guidance_extends_a_model_that_was_never_given_frames():
    """Across the seam of two windows; with the ancestral sampler, as Video Diffusion Models has it."""

    def seam(known: str) -> float:
        generator = gaussian_generator(markov(4, RHO), "none", known=known, sampler="ancestral")
        found = correlations(made(generator, extended(Extension(5, (4, 2, 2), 2, 2)), 150))
        return float(found[3, 4] / (found[3, 3] * found[4, 4]).sqrt())

    assert seam("guidance") == pytest.approx(RHO, abs=0.08)
    assert seam("replacement") < RHO - 0.15


def test_the_commands_keep_what_they_are_given(continues: Path, picture: Path, tmp_path: Path):
    out = tmp_path / "long"
    said = models("sample", continues, "--out", out, "--n", 2, "--extend", 9, "--first", picture, *QUICK)
    assert "1 of 1 pictures of another shape, cropped in the middle to 16x16" in said.stdout + said.stderr
    table = pd.read_parquet(out / "manifest.parquet")
    assert table["n_frames"].tolist() == [9, 9]
    shrunk = np.asarray(Image.open(picture).crop((6, 0, 30, 24)).resize((16, 16), Image.Resampling.BOX)).astype(int)
    given = frames_of(out / "000000.mp4")[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(given - shrunk).mean() < 4, "the middle of the picture; through H.264"
    models("sample", continues, "--out", out, "--n", 3, "--extend", 9, "--first", picture, *QUICK)
    again = pd.read_parquet(out / "manifest.parquet")
    assert again["clip_id"].tolist()[:2] == table["clip_id"].tolist()
    one_line(
        invoke("models", "sample", continues, "--out", out, "--n", 2, "--extend", 9, "--last", picture, *QUICK),
        "leave --last out",
    )
    (tmp_path / "ends").mkdir()
    (tmp_path / "ends" / "words.txt").write_text("no picture")
    picture.rename(tmp_path / "ends" / picture.name)
    both = ("--first", tmp_path / "ends", "--last", tmp_path / "ends" / picture.name)
    said = models("sample", continues, "--out", tmp_path / "both", "--n", 1, *both, *QUICK)
    assert "files that hold no picture and no video: 1" in said.stdout + said.stderr
    video = frames_of(tmp_path / "both" / "000000.mp4").double()
    assert float((video[0] - video[-1]).abs().mean()) < 8


def test_a_model_that_was_trained_without_takes_them_by_guidance(trained: Path, picture: Path, tmp_path: Path):
    options = ("--extend", 7, "--first", picture, *QUICK)
    one_line(
        invoke("models", "sample", trained, "--out", tmp_path / "s", "--n", 1, *options),
        "leave --first out", "sample.known=guidance",
    )  # fmt: skip
    models("sample", trained, "--out", tmp_path / "s", "--n", 1, *options, "--set", "sample.known=guidance")
    assert len(frames_of(tmp_path / "s" / "000000.mp4")) == 7


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--last", "PICTURE"), "not trained to be given --last alone"),
        (("--extend", 4), "longer than a window of 4 frames"),
        (("--extend", 10**12), "shorter --extend"),
        (("--extend", 9, "--set", "sample.context=3"), "sample.context=2"),
        (("--first", "PICTURE", "--size", "18x16"), "multiples of 4 px"),
        (("--first", "NOWHERE"), "there is no"),
        (("--set", "sample.dynamic_threshold=0.9"), "predicts latents"),
        (("--set", "sample.dynamic_threshold=1.5"), "a quantile"),
        (("--set", "sample.guidance=nan"), "finite"),
        (("--set", "sample.guidance_low=1.0", "--set", "sample.guidance_last=2.0"), "give one of them"),
        (("--set", "sample.guidance_constant_steps=3"), "sample.guidance_low"),
        (("--set", "sample.known=learned"), "trained"),
        (("--set", "sample.reconstruction=-1.0"), "reconstruction"),
    ],
)
def test_what_cannot_be_is_one_line(options: tuple, says: str, continues: Path, picture: Path, tmp_path: Path):
    words = [picture if word == "PICTURE" else tmp_path / word if word == "NOWHERE" else word for word in options]
    one_line(invoke("models", "sample", continues, "--out", tmp_path / "s", "--n", 1, *words, *QUICK), says)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("known", ["trained", "guidance"])
def test_a_window_of_one_latent_is_given_no_frames_in_any_way(known: str, trained: Path):
    """On the code before, a model that was not trained to be given frames said that guidance would help."""
    latents = Pixels(PixelsConfig(space_factor=4, time_factor=4))
    whole = replace(load(trained, overrides=(f"sample.known={known}",)), autoencoder=latents)
    with pytest.raises(UserError, match="as one latent: there is none to continue"):
        check_asked(whole, Request(extend=9), (4, 16, 16))
    with pytest.raises(UserError, match="can be given no single picture: each of its latents is of 4 frames"):
        check_asked(whole, Request(first=trained), (4, 16, 16))


@pytest.mark.parametrize("known", ["trained", "guidance"])
def test_a_model_of_whole_videos_makes_none_alone(known: str, trained: Path):
    loaded = load(trained, overrides=(f"sample.known={known}",))
    frames = FramesConfig(given="low")
    config = replace(loaded.config, conditioning=replace(loaded.config.conditioning, frames=frames))
    with pytest.raises(UserError, match="put it behind another one"):
        check_asked(replace(loaded, config=config), Request(), (4, 16, 16))


@pytest.mark.parametrize("size", [(16, 24), (17, 15)])
def test_what_another_stage_is_given_comes_back_bit_by_bit(size: tuple[int, int], tmp_path: Path):
    video = torch.randint(0, 256, (5, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    write_mp4(tmp_path / "v.mp4", video, 8.0, lossless=True)
    assert torch.equal(frames_of(tmp_path / "v.mp4"), video)
