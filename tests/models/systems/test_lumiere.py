"""Lumiere: time is shrunk within the U-Net."""

import pytest
import torch
from helpers.sides import CHANNELS, Side, side, trained

from clipmill.curate.errors import UserError
from clipmill.models.adapt.along_time import temporal_names
from clipmill.models.adapt.bringing import bring
from clipmill.models.backbones.contract import Conditioning
from clipmill.models.config import SampleConfig
from clipmill.models.zero_shot.network_changes import changed_network
from clipmill.models.zero_shot.windows import InWindows, begins


def video_and_image() -> tuple[Side, Side]:
    image, video = trained(side("lumiere-image-nano")), side("lumiere-nano", seed=5)
    report = bring(image, video, "image")
    assert not report.missing
    assert set(report.new) == temporal_names(video.network)
    assert any("time_down" in name for name in report.new)
    return video, image


def seen(made: Side, z: torch.Tensor) -> torch.Tensor:
    conditions = made.network.get_submodule("conditioner").conditions(["a", "b"], {}, [None, None])
    with torch.no_grad():
        return made.network(z, torch.tensor([0.3, 0.6]), conditions)


@pytest.mark.parametrize("frames", [1, 2, 4, 5, 7])
def test_a_still_video_of_any_length_begins_as_the_image_model(frames):
    video, image = video_and_image()
    z = torch.randn(2, 1, CHANNELS, 8, 8, generator=torch.Generator().manual_seed(1)).expand(-1, frames, -1, -1, -1)
    found, expected = seen(video, z), seen(image, z)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_at_the_start_pairs_of_frames_share_what_is_below():
    """Nearest: the second of two frames has the first one's coarse features, and its own skips."""
    video, image = video_and_image()
    z = torch.randn(2, 5, CHANNELS, 8, 8, generator=torch.Generator().manual_seed(1))
    before = seen(video, z)
    assert (before - seen(image, z)).abs().max() > 1e-3
    for changed, moves in ((0, [0, 1]), (1, [1]), (2, [2, 3]), (4, [4])):
        other = z.clone()
        other[:, changed] += 1
        moved = (seen(video, other) - before).abs().amax(dim=(0, 2, 3, 4)) > 1e-5
        assert moved.nonzero().flatten().tolist() == moves


def test_levels_below_have_fewer_frames_and_cost_less():
    made = side("lumiere-nano").network.get_submodule("backbone")
    whole = side("lumiere-nano", "backbone.options.time_factors=[1]").network.get_submodule("backbone")
    seen_frames = []
    made.middle[0].register_forward_hook(lambda _, given, found: seen_frames.append(found.shape[1]))
    z = torch.randn(1, 7, CHANNELS, 8, 8)
    made(z, torch.tensor([0.5]), Conditioning())
    assert seen_frames == [4]
    assert made.flops((8, 8, 8)) < whole.flops((8, 8, 8))


def test_what_has_no_place_is_one_line():
    made = side("lumiere-nano").network.get_submodule("backbone")
    z = torch.randn(1, 4, CHANNELS, 8, 8)
    with pytest.raises(UserError, match="joins frames"):
        made(z, torch.tensor([0.5]), Conditioning(independent=torch.ones(1, 4, dtype=torch.bool)))
    for factors in ("[3]", "[2,2]"):
        with pytest.raises(UserError, match="1 or 2, one for each level but the first"):
            side("lumiere-nano", f"backbone.options.time_factors={factors}")


class Sees(torch.nn.Module):
    """Adds the mean of what it sees of the latents, or of what is given beside them, frame by frame or in all."""

    def __init__(self, alone: bool) -> None:
        super().__init__()
        self.alone = alone

    def forward(self, z: torch.Tensor, level: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        shown = z + conditioning.frames
        return shown if self.alone else shown.mean(dim=1, keepdim=True).expand_as(shown)


@pytest.mark.parametrize("length", [4, 5, 7, 9])
def test_windows_of_a_model_of_single_frames_are_the_model(length):
    z, given = torch.randn(2, 2, length, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    conditioning = Conditioning(frames=given)
    found = InWindows(Sees(True), 4)(z, torch.tensor([0.5]), conditioning)
    torch.testing.assert_close(found, z + given, rtol=0, atol=1e-6)


def test_where_windows_meet_is_the_mean():
    assert [begins(length, 4) for length in (4, 5, 6, 9)] == [[0], [0, 1], [0, 2], [0, 2, 4, 5]]
    z = torch.arange(6.0).reshape(1, 6, 1, 1, 1)
    found = InWindows(Sees(False), 4)(z, torch.tensor([0.5]), Conditioning(frames=0 * z)).flatten()
    assert found.tolist() == [1.5, 1.5, 2.5, 2.5, 3.5, 3.5]


def test_the_setting_changes_longer_videos_alone_and_is_over_afterwards():
    network = side("lumiere-nano").network
    backbone = network.get_submodule("backbone")
    for frames, joined in ((4, False), (5, True)):
        with changed_network(network, SampleConfig(joined=4), frames):
            assert isinstance(network.get_submodule("backbone"), InWindows) == joined
        assert network.get_submodule("backbone") is backbone
    assert "joined" not in SampleConfig().deciding()
    assert SampleConfig(joined=4).deciding()["joined"] == 4
