"""`models sample --extend-before`: videos made longer at their beginning keep what was there."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.commands import invoke, models, one_line
from helpers.denoising_oracles import one_thread  # noqa: F401
from helpers.gaussian_system import correlations, gaussian_generator, markov, prompts
from helpers.trainings import NANO

from clipmill.curate.errors import UserError
from clipmill.models.autoencoder_for import autoencoder_named
from clipmill.models.conditioning.config import FramesConfig
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.loading import Loaded
from clipmill.models.stages.asked import check_asked
from clipmill.models.stages.extension import Extension, extended, extension_of
from clipmill.models.stages.extension_back import Back
from clipmill.models.stages.plain import plain
from clipmill.models.stages.request import Request
from clipmill.models.stages.sample_folder import frames_of

RHO = 0.8
LEADS = (
    "diffusion.parametrisation=v",
    *(f"conditioning.frames.{each}" for each in ("given=masks", "backward=0.2", "context_frames=2")),
)
QUICK = ("--set", "sample.steps=2", "--device", "cpu")
WINDOW = (4, 2, 2)


def made(generator, make, count: int, **ends: torch.Tensor) -> torch.Tensor:
    return make(generator, prompts(count, **ends), SampleNoise(0, range(count)))


def both_ways(before: int, frames: int, context: int = 2) -> Extension:
    return Extension(frames, WINDOW, context, context, Back(before, WINDOW, context, context))


@pytest.mark.parametrize(("context", "before"), [(1, 4), (2, 3)])
def test_windows_before_and_behind_are_distributed_as_one_long_video(context: int, before: int):
    """Of the first window that is made, some frames are too many: those farthest from what is there."""
    generator = gaussian_generator(markov(4, RHO))
    videos = made(generator, extended(both_ways(before, 7, context)), 500)
    assert videos.shape == (500, before + 7, 3, 2, 2)
    assert float((correlations(videos) - markov(before + 7, RHO)).abs().max()) < 0.12


def test_a_video_that_is_made_longer_at_either_end_keeps_every_frame():
    generator = gaussian_generator(markov(4, RHO))
    middle = made(generator, plain(WINDOW), 3)
    videos = [made(generator, extended(both_ways(n, 7)), 3) for n in (3, 5)]
    assert [video.shape[1] for video in videos] == [10, 12]
    assert torch.equal(videos[1][:, 2:], videos[0]), "bit by bit, those before too"
    assert torch.equal(videos[0][:, 3:7], middle)
    assert torch.equal(videos[0][:, 3:], made(generator, extended(Extension(7, WINDOW, 2, 2)), 3))
    assert len({frame.numpy().tobytes() for frame in videos[1][0]}) == 12, "each window has noise of its own"


def test_a_picture_is_led_to():
    generator = gaussian_generator(markov(4, 0.95))
    first = torch.full((3, 2, 2), 200, dtype=torch.uint8)
    videos = made(generator, extended(both_ways(2, 4)), 100, first=first)
    assert bool((videos[:, 2] == 200).all())
    means = videos.float().mean(dim=(0, 2, 3, 4))
    assert means[1] > 180
    assert means[0] < means[1] < 200


def test_latents_of_several_frames_are_encoded_again():
    generator = gaussian_generator(markov(4, RHO), time_factor=2)
    window = (8, 2, 2)
    plan = Extension(8, window, 2, 4, Back(6, window, 2, 4))
    videos = made(generator, extended(plan), 300)
    assert videos.shape[1] == 14
    assert torch.equal(videos[:, 6:], made(generator, plain(window), 300))
    assert float((correlations(videos[:, ::2]) - markov(7, RHO)).abs().max()) < 0.14


def test_latents_of_a_causal_autoencoder_are_taken_as_after_a_frame_that_stands_still():
    options = {"width": 8, "multipliers": [1, 1], "depth": 1, "time_factor": 2, "space_factor": 2, "groups": 4}
    torch.manual_seed(0)
    autoencoder = autoencoder_named("causal", options | {"latent_channels": 4, "deterministic": True}).eval()
    generator = replace(gaussian_generator(markov(3, RHO)), autoencoder=autoencoder)
    head = torch.randint(0, 256, (1, 6, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = Back(2, (5, 4, 4), 2, 4)._ending(generator, head)
        whole = generator.encoded(torch.cat([head[:, :1], head[:, :4]], dim=1))
    assert found.shape[1] == 2
    assert torch.equal(found, whole[:, 1:])


def loaded(**frames: object) -> Loaded:
    generator = gaussian_generator(markov(4, RHO))
    config = load_config(**frames)
    return Loaded(None, config, {}, 0, 0.0, generator.network, generator.autoencoder)


def load_config(**frames: object):
    from clipmill.models.config import load

    config = load("demo-continue-nano", ["sample.context=none"])
    return replace(config, conditioning=replace(config.conditioning, frames=FramesConfig(**frames)))


def test_what_is_shown_is_as_long_as_what_was_trained():
    plan = extension_of(loaded(given="masks", backward=0.2, context_frames=2), None, WINDOW, 5)
    assert (plan.frames, plan.context, plan.overlap) == (4, 2, 2)
    assert (plan.back.frames, plan.back.context, plan.back.overlap) == (5, 2, 2)


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ({"given": "masks", "prediction": 0.5}, "not trained to lead to frames: leave --extend-before out"),
        ({"given": "none"}, "not trained to be given frames: leave --extend-before out"),
    ],
)
def test_a_model_that_leads_to_nothing_says_so(frames: dict, says: str):
    with pytest.raises(UserError, match=says):
        check_asked(loaded(**frames), Request(extend_before=4), WINDOW)


def test_a_model_of_first_frames_makes_nothing_before_them(tmp_path):
    with pytest.raises(UserError, match="makes nothing before it: leave --extend-before out"):
        check_asked(loaded(given="first"), Request(extend_before=4, first=tmp_path), WINDOW)


def test_the_command_makes_videos_longer_at_both_ends(tiny_run: Path, tmp_path: Path):
    leads, out = tmp_path / "c", tmp_path / "long"
    sets = [word for text in (*LEADS, "train.validate_every=0") for word in ("--set", text)]
    models("train", tiny_run, *NANO, "--steps", 2, *sets, "--out", leads)
    models("sample", leads, "--out", out, "--n", 1, "--extend", 6, *QUICK)
    wide = ("sample", leads, "--n", 1, "--extend", 6, "--extend-before", 3)
    one_line(invoke("models", *wide, "--out", out, *QUICK), "other settings")
    models(*wide, "--out", tmp_path / "wider", *QUICK)
    short, long = (frames_of(folder / "000000.mp4") for folder in (out, tmp_path / "wider"))
    assert (len(short), len(long)) == (6, 9)
    assert float((long[3:].double() - short.double()).abs().mean()) < 4, "through H.264"
    missing = invoke("models", *wide[:-1], 10**12, "--out", tmp_path / "none", *QUICK)
    one_line(missing, "shorter --extend")
    assert not (tmp_path / "none").exists()
