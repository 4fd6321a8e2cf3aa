"""A model of images behind another one, and beside a video whose structure it keeps."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.denoising_oracles import one_thread  # noqa: F401

from clipmill.curate.errors import UserError
from clipmill.models.autoencoder_for import autoencoder_of
from clipmill.models.config import load
from clipmill.models.core.noise import SampleNoise
from clipmill.models.generate.loading import Loaded
from clipmill.models.generate.prompts import Prompt
from clipmill.models.network import seeded_network
from clipmill.models.stages.editing import check_edit, edited
from clipmill.models.stages.request import Request
from clipmill.models.stages.taking import taking_of

CPU = torch.device("cpu")


def controlled(*settings: str) -> Loaded:
    """The smallest controlvideo, untrained, of which every part says something."""
    config = load("controlvideo-nano", ["sample.steps=3", "sample.guidance=1.0", *settings])
    autoencoder = autoencoder_of(config.autoencoder, CPU)
    network = seeded_network(config, autoencoder)
    for parameter in network.parameters():
        if not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(1))
    return Loaded(Path("control"), config, {}, 0, 0.0, network, autoencoder)


def test_frames_that_look_at_one_another_are_one_window():
    """A model of images has windows of one frame otherwise, each alone."""
    grid = 12, 32, 32
    assert [(w.begin, w.frames) for w in taking_of(controlled(), grid).windows] == [(0, 12)]
    alone = controlled("sample.zero_shot.attention=trained", "sample.zero_shot.clip=0")
    assert [(w.begin, w.frames) for w in taking_of(alone, grid).windows] == [(k, 1) for k in range(12)]


def made(loaded: Loaded, video: torch.Tensor) -> torch.Tensor:
    wanted = [Prompt(0, "a ball", None, {}, video=video)]
    return edited("")(loaded.generator(CPU), wanted, SampleNoise(0, [0]))[0].int()


def test_from_noise_only_the_structure_of_a_video_is_kept():
    """Its edges are those of the video in negative."""
    video = torch.full((5, 3, 32, 32), 60, dtype=torch.uint8)
    video[:, :, 8:20, 8:20] = 200
    loaded = controlled()
    found = made(loaded, video)
    assert int((made(loaded, 255 - video) - found).abs().max()) <= 1
    assert int((made(loaded, video.roll(8, 3)) - found).abs().max()) > 3
    inverted = controlled("sample.inversion=1")
    assert int((made(inverted, 255 - video) - made(inverted, video)).abs().max()) > 20


@pytest.mark.parametrize("forward", ["ddpm", "ddim"])
def test_a_control_takes_motion_too(forward: str):
    """The first picture is made of the first frame's structure, and moved; the others keep their own."""
    video = torch.full((5, 3, 32, 32), 60, dtype=torch.uint8)
    video[:, :, 8:20, 8:20] = 200
    moving = ("sample.zero_shot.motion=[4, 0]", f"sample.zero_shot.motion_forward={forward}", "sample.steps=6")
    moving += ("sample.zero_shot.smooth=0.0",)
    changed = video.clone()
    changed[3] = video[3].roll(9, 2)
    found, other = (
        made(controlled(*moving, "sample.zero_shot.attention=first", "sample.zero_shot.clip=0"), v)
        for v in (video, changed)
    )
    assert [t for t in range(5) if int((found[t] - other[t]).abs().max()) > 2] == [3]


def test_an_edit_that_would_keep_nothing_or_begin_twice_is_a_line():
    request = Request(edit=Path("v.mp4"), captions=("a",))
    check_edit(controlled(), request)
    plain = controlled()
    plain = replace(plain, config=load("text2video-zero-nano", ["sample.inversion=0"]))
    with pytest.raises(UserError, match="not given its structure"):
        check_edit(plain, request)
    with pytest.raises(UserError, match="begins at noise"):
        check_edit(controlled("sample.inversion=1", "sample.zero_shot.motion=[4, 0]"), request)
