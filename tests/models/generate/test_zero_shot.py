"""Videos of image models, by whole generators: motion of the latents, smoothing, and neutral changes together."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.commands import invoke, one_line
from helpers.denoising_oracles import one_thread  # noqa: F401
from helpers.gaussian_system import gaussian_generator

from clipmill.curate.errors import UserError
from clipmill.models.autoencoder_for import autoencoder_of
from clipmill.models.backbones.by_name import plan_named
from clipmill.models.conditioning.contract import Conditions
from clipmill.models.config import SampleConfig, load
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.given import Given
from clipmill.models.generate.sampling import Generator
from clipmill.models.layers.attention import Attention
from clipmill.models.layers.plan import SPATIAL
from clipmill.models.network import Diffusion, seeded_network
from clipmill.models.settings.zero_shot import FreeUConfig, ZeroShotConfig
from clipmill.models.zero_shot.network_changes import changed_network

CPU = torch.device("cpu")
NO_WAY_BACK = (0.5, 0.5)


def image_generator(**sample: object) -> Generator:
    """Of the smallest text2video-zero, untrained, with numbers in all its layers."""
    config = load("text2video-zero-nano")
    autoencoder = autoencoder_of(config.autoencoder, CPU)
    network = seeded_network(config, autoencoder).eval()
    for parameter in network.parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
    # Far from where a network that knows nothing would blow up.
    chosen = replace(SampleConfig(), **({"steps": 6, "schedule": "cosine"} | sample))
    return Generator(network, autoencoder, Diffusion(load("demo-nano")), chosen, CPU)


def made(generator: Generator, frames: int = 4, sides: tuple[int, int] = (8, 8)) -> torch.Tensor:
    conditioner = generator.network.conditioner
    captions = ["a red ball"] * 2
    conditions = conditioner.conditions(captions, {}, [None] * 2) if conditioner.text_encoder else Conditions()
    return generator.latents((frames, *sides), conditions, SampleNoise(0, range(2)))


def gaussian(motion: tuple[float, float], **zero_shot: object) -> Generator:
    """Every number on its own: no picture is better than another one."""
    chosen = ZeroShotConfig(motion=motion, **zero_shot)
    return gaussian_generator(0.3 * torch.eye(6, dtype=torch.float64), steps=40, zero_shot=chosen, inversion=8)


def test_a_still_start_without_noise_on_the_way_gives_identical_frames():
    chosen = ZeroShotConfig("first", motion=(0.0, 0.0), motion_times=NO_WAY_BACK)
    found = made(image_generator(zero_shot=chosen))
    torch.testing.assert_close(found, found[:, :1].expand_as(found), rtol=0, atol=1e-4)
    alone = made(image_generator(zero_shot=chosen), 1)
    torch.testing.assert_close(found[:, :1], alone, rtol=0, atol=1e-4)
    assert float((found[0] - found[1]).abs().max()) > 0.1


def test_whole_latents_of_motion_move_the_interior_exactly():
    """2x2 px are not the size of these: a latent is a pixel."""
    found = made(gaussian((1.0, -2.0), motion_times=NO_WAY_BACK), sides=(9, 8))
    for k in range(1, 4):
        torch.testing.assert_close(found[:, k, :, : 9 - 2 * k, k:], found[:, 0, :, 2 * k :, : 8 - k], rtol=0, atol=1e-6)


def test_the_way_back_is_new_noise_or_ddims_own():
    """By DDIM a still start stays a still video, by DDPM its frames go their own ways from the first time on."""
    times = {"motion_times": (0.4, 0.8)}
    inverted = made(gaussian((0.0, 0.0), motion_forward="ddim", **times))
    assert float((inverted - inverted[:, :1]).abs().max()) < 0.01
    noisy = made(gaussian((0.0, 0.0), **times))
    apart = noisy[:, 1:] - noisy[:, :1]
    assert 0.2 < float(apart.std()) < 0.7, "two frames of their own would be 0.77 apart"
    less = made(gaussian((0.0, 0.0), motion_times=(0.4, 0.5)))
    assert float((less[:, 1:] - less[:, :1]).std()) < 0.7 * float(apart.std())
    torch.testing.assert_close(noisy[:, :1], inverted[:, :1], rtol=0, atol=1e-5)


def test_a_smoothed_background_is_the_moved_first_frame_again():
    times = {"motion_times": (0.4, 0.8)}
    plain, smooth = (made(gaussian((0.0, 0.0), background=share, **times)) for share in (0.0, 1.0))
    apart = [(z[:, 1:] - z[:, :1]).abs() for z in (plain, smooth)]
    assert float(apart[1].median()) < 1e-5 < 0.1 < float(apart[0].median())
    assert torch.equal(smooth[:, :1], plain[:, :1]), "the first frame is its own"


def test_neutral_changes_together_are_the_identity():
    """On frames that begin alike, attention to all of them, clips, and a smoother change nothing either."""
    same = ZeroShotConfig(shared_noise=True)
    plain = made(image_generator(zero_shot=same), 7)
    torch.testing.assert_close(plain, plain[:, :1].expand_as(plain), rtol=0, atol=1e-5)
    every = replace(same, attention="full", clip=3, smooth=0.5)
    stacked = image_generator(
        zero_shot=every, free_u=FreeUConfig((1.0, 1.0), (1.0, 1.0)), guidance=1.0, guidance_low=1.0, rescale=0.0
    )
    before = stacked.network.backbone
    torch.testing.assert_close(made(stacked, 7), plain, rtol=0, atol=1e-3)
    assert stacked.network.backbone is before
    assert torch.equal(made(image_generator(zero_shot=same), 7), plain)


@pytest.mark.parametrize("attention", ["first", "previous", "full"])
def test_the_attention_that_is_asked_for_is_what_the_network_has(attention: str):
    """In its layers within frames, while videos are made and not afterwards."""
    generator = image_generator(zero_shot=ZeroShotConfig(attention))
    layers = [part for part in generator.network.modules() if isinstance(part, Attention)]
    within = [layer for layer in layers if layer.plan == SPATIAL]
    with changed_network(generator.network, generator.config, 4):
        assert {layer.plan for layer in within} == {plan_named(attention)}
        assert not any(layer.plan == plan_named(attention) for layer in layers if layer not in within)
    assert {layer.plan for layer in within} == {SPATIAL}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"zero_shot": ZeroShotConfig(motion=(1.0, 0.0)), "sampler": "ancestral"}, "sample.sampler=ddim"),
        ({"zero_shot": ZeroShotConfig(smooth=0.4), "sampler": "flow-heun"}, "smooth goes along"),
        ({"zero_shot": ZeroShotConfig(motion=(1.0, 0.0), motion_forward="ddim"), "sampler": "flow-euler"}, "needs"),
        ({"free_u": FreeUConfig((1.1,) * 3)}, "2 levels"),
    ],
)
def test_what_cannot_be_changed_so_is_a_line(changes: dict, says: str):
    with pytest.raises(UserError, match=says):
        image_generator(**changes)


def test_latents_of_several_frames_and_given_frames_do_not_move():
    with pytest.raises(UserError, match="time_factor=1"):
        gaussian_generator(torch.eye(3), time_factor=2, zero_shot=ZeroShotConfig(motion=(1.0, 0.0)))
    generator = gaussian((1.0, 0.0))
    with pytest.raises(UserError, match="leave given frames out"):
        generator.latents((4, 2, 2), Conditions(), SampleNoise(0, [0]), Given(torch.zeros(1, 1, 3, 2, 2), (0,)))


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("motion=[1]", "two numbers"),
        ("motion_times=[0.9,0.8]", "smaller one first"),
        ("clip=4", "attention=full"),
        ("background=0.5", "set motion"),
        ("attention=sideways", "one of trained, first"),
        ("smooth=2.0", "shares from 0"),
    ],
)
def test_a_wrong_setting_is_one_line(setting: str, says: str, trained: Path, tmp_path: Path):
    words = ("models", "sample", trained, "--out", tmp_path / "s", "--device", "cpu")
    one_line(invoke(*words, "--set", f"sample.zero_shot.{setting}"), says)
    assert not (tmp_path / "s").exists()


def test_what_a_checkpoint_has_no_place_for_is_one_line(trained: Path, tmp_path: Path):
    words = ("models", "sample", trained, "--out", tmp_path / "s", "--device", "cpu")
    one_line(invoke(*words, "--set", "sample.free_u.backbone=[1.2]"), "skips of a U-Net")
    one_line(invoke(*words, "--edit", tmp_path, "--set", "sample.inversion=0"), "not given its structure")
    assert not (tmp_path / "s").exists()


def test_settings_of_their_own_are_named_in_what_made_a_video():
    assert SampleConfig(zero_shot=ZeroShotConfig("first")).deciding()["zero_shot"] == {"attention": "first"}
    assert not {"zero_shot", "free_u"} & SampleConfig().deciding().keys()
