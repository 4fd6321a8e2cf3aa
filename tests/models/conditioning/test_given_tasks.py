"""The tasks of given frames beside prediction: which frames, how often."""

import pytest
import torch

from clipmill.curate.common.settings import build
from clipmill.curate.errors import UserError
from clipmill.models.conditioning.config import FramesConfig
from clipmill.models.conditioning.given_frames import as_channels, given_frames, in_place
from clipmill.models.core.noise import SampleNoise

MANY = 3000
BEFORE = "x..x xx.. x..x xx.. x..x ...x .... x... xx.. x... x... x..."


def patterns(frames: int, count: int = MANY, **settings: float) -> list[str]:
    """x for a given frame, of each sample; no task but those that are named."""
    config = FramesConfig("masks", **{"prediction": 0.0, "interpolation": 0.0} | settings)
    rows = given_frames(config, frames, SampleNoise(3, range(count))).tolist()
    return ["".join("x" if frame else "." for frame in row) for row in rows]


def check_shares(found: list[str], stated: dict[str, float]) -> None:
    assert set(found) == set(stated)
    for pattern, share in stated.items():
        spread = 3.5 * (share * (1 - share) / len(found)) ** 0.5
        assert found.count(pattern) / len(found) == pytest.approx(share, abs=spread), pattern


def test_last_frames_are_given_as_often_as_stated():
    stated = {"....x": 0.15, "...xx": 0.15, "..xxx": 0.15, ".....": 0.55}
    check_shares(patterns(5, backward=0.45, context_frames=3), stated)


def test_every_nth_frame_and_the_last_are_given():
    assert set(patterns(9, 50, every=1.0, every_nth=4)) == {"x...x...x"}
    assert set(patterns(8, 50, every=1.0, every_nth=3)) == {"x..x..xx"}, "the last, though no third"
    assert set(patterns(3, 50, every=1.0, every_nth=100)) == {"x.x"}
    check_shares(patterns(5, every=0.4, every_nth=2), {"x.x.x": 0.4, ".....": 0.6})


def test_past_and_future_are_each_there_half_the_time():
    """The four tasks of MCVD: generation, prediction of what follows, of what came before, interpolation."""
    check_shares(patterns(6, past_future=1.0), {"......": 0.25, "x.....": 0.25, ".....x": 0.25, "x....x": 0.25})
    both = [f"{past}{'.' * (6 - len(past) - len(future))}{future}" for past in ("x", "xx") for future in ("x", "xx")]
    one = ["x.....", "xx....", ".....x", "....xx"]
    check_shares(
        patterns(6, past_future=0.8, context_frames=2),
        {"......": 0.4} | dict.fromkeys(one, 0.1) | dict.fromkeys(both, 0.05),
    )


@pytest.mark.parametrize("task", ["prediction", "backward", "interpolation", "every", "past_future", "random"])
@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_one_frame_always_stays_to_be_made(task: str, frames: int):
    found = patterns(frames, 300, **{task: 1.0, "context_frames": 9, "every_nth": 2})
    assert all("." in pattern for pattern in found)


def test_a_new_task_changes_none_of_the_samples_of_the_others():
    """The tasks of before come first and keep their draws."""
    before = patterns(6, 400, prediction=0.3, interpolation=0.2, random=0.1, context_frames=3)
    after = patterns(6, 400, prediction=0.3, interpolation=0.2, random=0.1, context_frames=3, backward=0.2, every=0.1)
    changed = [one for one, other in zip(before, after, strict=True) if one != other]
    assert set(changed) == {"......"}


def test_beside_a_frame_stands_the_nearest_that_is_given():
    config = FramesConfig("masks", layout="nearest", predicted=False)
    x = torch.randn(3, 6, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    given = torch.tensor([[True] + [False] * 5, [False, True, False, False, True, False], [False] * 6])
    alone = torch.tensor([[False] * 5 + [True]] * 3)
    seen = torch.where(given[:, :, None, None, None], x, 0.0)
    for independent in (None, alone):
        found = as_channels(config, seen, given, independent)
        stands = x[:2, [0] * 6], x[:2, [1, 1, 1, 4, 4, 4]]
        expected = torch.stack([stands[0][0], stands[1][1], torch.zeros(6, 2, 1, 1)])
        if independent is not None:
            expected[:, 5] = 0
        assert torch.equal(found[:, :, :2], expected)
        assert torch.equal(found[:, :, 2, 0, 0].bool(), given)
    z = torch.zeros_like(x)
    assert torch.equal(in_place(z, config, as_channels(config, seen, given, None)), seen)


@pytest.mark.parametrize("given", ["low", "structure"])
def test_a_whole_video_is_given_throughout(given: str):
    assert bool(given_frames(FramesConfig(given), 4, SampleNoise(0, range(3))).all())


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"backward": 0.5, "every": 0.3, "past_future": 0.3}, "backward, every and past_future together are at most 1"),
        ({"backward": -0.1}, "between 0 and 1"),
        ({"every_nth": 1}, "every_nth is at least 2, not 1"),
        ({"space": 0}, "space is at least 1"),
        ({"time": -2}, "time is at least 1"),
        ({"given": "low", "space": 1}, "is the video itself"),
        ({"given": "low", "layout": "repeat"}, "set layout=mask"),
        ({"given": "structure", "predicted": False}, "predicted=true"),
        ({"given": "low", "layout": "nearest"}, "set layout=mask"),
        ({"structure": "lines"}, "edges"),
        ({"blur_px": 0.0}, "blur_px is over 0"),
        ({"blur_px": float("nan")}, "blur_px is over 0"),
        ({"given": "high"}, "structure"),
    ],
)
def test_settings_that_cannot_be_are_one_line(values: dict, says: str):
    with pytest.raises(UserError, match=says) as refused:
        build(FramesConfig, {"prediction": 0.0, "interpolation": 0.0} | values, "conditioning.frames")
    assert "\n" not in str(refused.value)


def test_frames_given_are_the_same_as_before_the_new_tasks():
    """Bits of a checkpoint of before: its own three tasks, drawn by its own seeds."""
    config = FramesConfig("masks", prediction=0.4, interpolation=0.2, random=0.2, context_frames=2)
    found = given_frames(config, 4, SampleNoise(7, range(12)))
    assert ["".join("x" if frame else "." for frame in row) for row in found.tolist()] == BEFORE.split()
