"""Tune-A-Video: attention to the first and the previous frame, beside an image model."""

import torch
from helpers.sides import CHANNELS, Side, side, trained

from clipmill.models.adapt.along_time import temporal_names
from clipmill.models.adapt.branches import is_branch
from clipmill.models.adapt.bringing import bring


def tuned_and_image() -> tuple[Side, Side]:
    image, video = trained(side("tune-a-video-image-nano")), side("tune-a-video-nano", seed=5)
    report = bring(image, video, "image")
    assert not report.missing
    assert {name for name in report.new if not is_branch(name)} == temporal_names(video.network)
    return video, image


def seen(made: Side, z: torch.Tensor) -> torch.Tensor:
    conditions = made.network.get_submodule("conditioner").conditions(["a", "b"], {}, [None, None])
    with torch.no_grad():
        return made.network(z, torch.tensor([0.3, 0.6]), conditions)


def test_one_frame_and_frames_all_alike_are_the_image_model():
    video, image = tuned_and_image()
    z = torch.randn(2, 4, CHANNELS, 8, 8, generator=torch.Generator().manual_seed(1))
    for alike in (z[:, :1], z[:, :1].expand_as(z)):
        expected = seen(image, alike)
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(seen(video, alike), expected, rtol=0, atol=2e-5)
    assert (seen(video, z) - seen(image, z)).abs().max() > 1e-2, "frames that differ see one another"


def test_a_frame_sees_no_later_one_and_all_see_the_first():
    video, _ = tuned_and_image()
    z = torch.randn(2, 5, CHANNELS, 8, 8, generator=torch.Generator().manual_seed(1))
    before = seen(video, z)
    for changed in range(5):
        other = z.clone()
        other[:, changed] += 1
        moved = (seen(video, other) - before).abs().amax(dim=(0, 2, 3, 4)) > 1e-4
        assert moved[changed]
        if changed:
            assert not moved[:changed].any()
        else:
            assert moved.all()
