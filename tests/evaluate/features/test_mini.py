"""The offline network: it is small and ours, sees time as well as pictures, and can be trained again."""

import hashlib
import json

import cv2
import numpy as np
import pytest
import torch
from helpers.demo_clips import demo_clips, network_input
from torch.utils.flop_counter import FlopCounterMode

from clipmill.curate.errors import UserError
from clipmill.evaluate.distances.frechet import frechet_distance
from clipmill.evaluate.features.mini import WEIGHTS, Mini
from clipmill.evaluate.studies.degrade import CORRUPTIONS, monotone, study


@pytest.fixture(scope="module")
def mini():
    return Mini()


@pytest.fixture(scope="module")
def clips():
    return demo_clips(64, seed=1, picture=(112, 64))


@pytest.fixture(scope="module")
def features(mini):
    def of(batch):
        with torch.inference_mode():
            return mini(network_input(batch, mini.side_px)).numpy()

    return of


@pytest.fixture(scope="module")
def rows(clips, features):
    return study(clips, features)


@pytest.mark.slow
@pytest.mark.parametrize("name", [c.name for c in CORRUPTIONS])
def test_distance_grows_with_every_level(rows, name):
    distances = [r["distance"] for r in rows if r["corruption"] == name]
    assert monotone(rows)[name], distances
    assert distances[0] > 0


@pytest.mark.slow
def test_disturbed_order_is_not_lost_beside_disturbed_pictures(rows):
    """A random network gives global swaps less than a hundredth of what it gives noise: this one must not be blind to
    time.
    """
    worst = {c.name: max(r["distance"] for r in rows if r["corruption"] == c.name) for c in CORRUPTIONS}
    for name in ("local-swap", "global-swap", "shuffle", "frozen-frames"):
        assert worst[name] > 0.1 * worst["gaussian-noise"], worst


@pytest.mark.slow
def test_other_clips_of_the_same_world_are_nearer_than_damaged_ones(clips, features, rows):
    other = features(demo_clips(64, seed=2, picture=(112, 64)))
    fresh = frechet_distance(features(clips), other)
    for name in ("gaussian-noise", "local-swap", "shuffle", "switch"):
        assert fresh < max(r["distance"] for r in rows if r["corruption"] == name)


def test_weights_are_small_and_described(mini):
    facts = json.loads(WEIGHTS.with_suffix(".json").read_text())
    assert WEIGHTS.stat().st_size <= 4_000_000
    assert facts["parameters"] <= 1_000_000
    assert facts["sha256"] == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    assert facts["sha256"] in mini.identity
    assert facts["held_out"]["law"] > 0.7
    assert facts["held_out"]["order"] > 0.8


@pytest.mark.parametrize("frames", [8, 9, 15, 16, 17, 32])
def test_any_length_from_eight_frames_on(mini, frames):
    with torch.inference_mode():
        out = mini(torch.zeros(2, frames, 3, 64, 64))
    assert out.shape == (2, mini.dim)
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()


def test_batching_changes_nothing(mini, clips):
    x = network_input(clips[:6], 64)
    with torch.inference_mode():
        torch.testing.assert_close(torch.cat([mini(v[None]) for v in x]), mini(x), rtol=1e-4, atol=1e-5)


def test_wrong_input_is_one_line(mini, tmp_path):
    with pytest.raises(UserError, match="at least 8 frames"):
        mini(torch.zeros(1, 7, 3, 64, 64))
    with pytest.raises(UserError, match=r"64, 64\]"):
        mini(torch.zeros(1, 16, 3, 224, 224))
    with pytest.raises(UserError, match="its own weights"):
        Mini(weights=tmp_path / "other.pt")
    with pytest.raises(UserError, match="bn_eps"):
        Mini(bn_eps=1e-5)


def test_never_called_fvd(mini):
    assert (mini.frechet_name, mini.kernel_name) == ("Fréchet distance (mini)", "kernel distance (mini)")


def test_it_is_quick(mini):
    """A hundredth of I3D's work for a clip, so that demos and tests can use it."""
    i3d = 55.6e9  # floating-point operations for a clip of as many frames, counted in the same way
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        mini(torch.zeros(1, 16, 3, mini.side_px, mini.side_px))
    assert 0 < counter.get_total_flops() < 0.01 * i3d


@pytest.mark.slow
def test_training_is_reproducible_and_learns():
    from clipmill.evaluate.studies.train_mini import batches, loss_of, render_clips, train

    clips = render_clips(48, seed=5)
    assert clips.videos.shape == (48, 16, 72, 72, 3)
    one, two = (train(clips, steps=6, size=16, seed=3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    batch = next(iter(batches(clips, 48, 1, seed=9)))
    with torch.inference_mode():
        torch.manual_seed(0)
        untrained = type(one)().train()
        assert loss_of(one.train()(batch.videos), batch) < loss_of(untrained(batch.videos), batch)


def test_labels_of_motion_are_what_is_seen():
    """A pan's pictures move the way its label says."""
    from clipmill.evaluate.studies.train_mini import MOTION_LAWS, MOTION_SCALES, STORED_PX, _render

    window = cv2.createHanningWindow((STORED_PX, STORED_PX), cv2.CV_32F)
    agree = []
    for i in range(4, 100, 6):
        row = _render(11, i)
        assert MOTION_LAWS[row["law"]] == "pan"
        green = row["videos"][..., 1].astype(np.float32)
        seen, _ = cv2.phaseCorrelate(green[0], green[4], window)
        labelled = 4 * (row["motion"] * MOTION_SCALES)[:2] * STORED_PX / 64
        agree += [np.sign(s) == np.sign(x) for s, x in zip(seen, labelled, strict=True) if abs(x) > 1]
    assert len(agree) >= 10
    assert np.mean(agree) > 0.9
