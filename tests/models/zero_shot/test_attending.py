"""Attention of an image model to other frames, and clips of a long video."""

from dataclasses import replace

import pytest
import torch
from helpers.denoising_oracles import one_thread  # noqa: F401
from torch import nn

from clipmill.curate.errors import UserError
from clipmill.models.backbones.contract import Conditioning
from clipmill.models.backbones.dit import DiT, DiTConfig
from clipmill.models.backbones.unet import UNet, UNetConfig
from clipmill.models.layers.plan import FIRST_AND_PREVIOUS, FIRST_FRAME, FULL, SPATIAL, TEMPORAL
from clipmill.models.zero_shot.attending import InClips, attending, check_attention, key_places

IMAGES = {
    "unet": UNetConfig(
        3,
        3,
        width=8,
        multipliers=(1, 2),
        depth=1,
        plans=((SPATIAL,), ()),
        middle_plans=(SPATIAL,),
        head_dim=4,
        groups=2,
    ),
    "dit": DiTConfig(3, 3, width=24, depth=2, head_dim=8, patch=(1, 2, 2), plans=(SPATIAL,)),
    "rotary": DiTConfig(3, 3, width=24, depth=2, head_dim=8, plans=(SPATIAL,), space_positions="rotary"),
}


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def network(name: str, **changes: object) -> nn.Module:
    torch.manual_seed(0)
    config = replace(IMAGES[name], **changes)
    made = UNet(config) if isinstance(config, UNetConfig) else DiT(config)
    for parameter in made.parameters():
        if not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.2)
    return made.eval()


@torch.no_grad()
def predicted(model: nn.Module, z: torch.Tensor, plan=None) -> torch.Tensor:
    told = torch.full((len(z),), 0.5), Conditioning()
    if plan is None:
        return model(z, *told)
    with attending(model, plan):
        return model(z, *told)


@pytest.mark.parametrize("name", IMAGES)
def test_the_first_frame_is_as_without_and_the_others_look_at_it(name: str):
    model, z = network(name), normal(2, 4, 3, 8, 6)
    plain, found = predicted(model, z), predicted(model, z, FIRST_FRAME)
    torch.testing.assert_close(found[:, :1], plain[:, :1], rtol=0, atol=1e-5)
    assert float((found[:, 1:] - plain[:, 1:]).abs().max()) > 1e-3
    other = z.clone()
    other[:, 0] += 1
    assert float((predicted(model, other, FIRST_FRAME) - found)[:, 3].abs().max()) > 1e-3
    assert torch.equal(predicted(model, z), plain), "afterwards all is as it was"


@pytest.mark.parametrize("plan", [FIRST_FRAME, FULL, FIRST_AND_PREVIOUS])
@pytest.mark.parametrize("name", IMAGES)
def test_frames_that_are_alike_come_out_alike_and_as_the_picture_does(name: str, plan):
    model, picture = network(name), normal(1, 1, 3, 8, 6)
    found = predicted(model, picture.expand(-1, 4, -1, -1, -1), plan)
    torch.testing.assert_close(found, predicted(model, picture).expand_as(found), rtol=0, atol=1e-5)


def test_layers_along_time_keep_their_plan_and_errors_do_not_leave_the_override():
    model = network("dit", plans=(SPATIAL, TEMPORAL))
    with attending(model, FULL):
        assert [block.attention.plan for block in model.blocks] == [FULL, TEMPORAL]
    with pytest.raises(UserError, match="takes videos"), attending(model, FULL):
        model(normal(1, 1, 99, 1, 1), normal(1), Conditioning())
    assert [block.attention.plan for block in model.blocks] == [SPATIAL, TEMPORAL]
    with pytest.raises(UserError, match="no attention within frames"):
        check_attention(network("dit", plans=(TEMPORAL,)))


class Counted(nn.Module):
    """A network that knows how many frames it was ever given at once."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.most = model, 0

    def forward(self, z, noise_level, conditioning):
        self.most = max(self.most, z.shape[1])
        return self.model(z, noise_level, conditioning)


@pytest.mark.parametrize("name", ["unet", "dit"])
def test_a_video_of_one_clip_is_full_attention(name: str):
    model, z = network(name), normal(2, 4, 3, 8, 6)
    assert torch.equal(predicted(InClips(model, 4), z), predicted(model, z, FULL))
    assert not torch.allclose(predicted(InClips(model, 3), z), predicted(model, z, FULL), atol=1e-4)


@pytest.mark.parametrize(("frames", "clip"), [(5, 3), (9, 4), (10, 4), (17, 3)])
def test_no_more_frames_than_a_clip_are_seen_at_once_and_each_is_made(frames: int, clip: int):
    counted, z = Counted(network("dit")), normal(1, frames, 3, 4, 4)
    found = predicted(InClips(counted, clip), z)
    assert counted.most == clip
    keys = key_places(frames, clip)
    assert keys[0] == 0
    assert keys[-1] == frames - 1
    together = predicted(InClips(counted, clip), z[:, keys])
    torch.testing.assert_close(found[:, keys], together, rtol=0, atol=1e-6)
    changed = z.clone()
    changed[:, 1] += 1
    assert [
        t for t in range(frames) if not torch.equal(predicted(InClips(counted, clip), changed)[:, t], found[:, t])
    ] == [1]


def test_a_frame_between_sees_its_two_key_frames_and_no_other():
    model, z = network("dit"), normal(1, 7, 3, 4, 4)
    clips = InClips(model, 4)
    found = predicted(clips, z)
    for place, wanted in ((0, {0, 1, 2, 3, 6}), (3, set(range(7))), (6, {0, 3, 4, 5, 6})):
        changed = z.clone()
        changed[:, place] += 1
        seen = {t for t in range(7) if float((predicted(clips, changed) - found)[:, t].abs().max()) > 1e-5}
        assert seen == wanted, place


def test_what_is_given_goes_with_its_frames():
    model = network("dit", frame_channels=2)
    z, frames = normal(1, 7, 3, 4, 4), normal(1, 7, 2, 4, 4, seed=1)
    with torch.no_grad():
        found = InClips(model, 4)(z, torch.full((1,), 0.5), Conditioning(frames=frames))
        other = InClips(model, 4)(
            z, torch.full((1,), 0.5), Conditioning(frames=frames.index_fill(1, torch.tensor([5]), 0))
        )
    assert [t for t in range(7) if float((other - found)[:, t].abs().max()) > 1e-5] == [5]
