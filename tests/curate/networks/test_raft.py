"""Motion by RAFT: the numbers are torchvision's own, with small random networks; with the real weights, where they are,
true speeds.
"""

import itertools
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.annotator_clips import clip, of_file, texture

from clipmill.curate import weights
from clipmill.curate.annotators.motion import Motion
from clipmill.curate.errors import AnnotatorError, UserError
from clipmill.curate.networks.raft import Raft, sized

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Random weights of both sizes, in both kinds of files."""
    from safetensors.torch import save_file
    from torchvision.models.optical_flow import raft_large, raft_small

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("raft")
    save_file(raft_small(weights=None).state_dict(), folder / "small.safetensors")
    torch.save(raft_large(weights=None).state_dict(), folder / "large.pth")
    return {"small": folder / "small.safetensors", "large": folder / "large.pth"}


def network(path):
    from torchvision.models.optical_flow import raft_large, raft_small

    found = (raft_small if path.stem == "small" else raft_large)(weights=None)
    found.load_state_dict(weights.load_state(path))
    return found.eval()


def published_flow(path, first, second):
    """[H, W, 2] as torchvision's recipe computes it, for pictures whose sides it takes as they are."""
    from torchvision.models.optical_flow import Raft_Large_Weights

    ready = Raft_Large_Weights.DEFAULT.transforms()
    pictures = ready(*(torch.from_numpy(p).permute(2, 0, 1)[None] for p in (first, second)))
    with torch.inference_mode():
        return network(path)(*pictures)[-1][0].permute(1, 2, 0).numpy()


def pictures(height, width, count, seed=0):
    rng = np.random.default_rng(seed)
    return [
        cv2.resize(rng.integers(0, 256, (9, 12, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
        for _ in range(count)
    ]


@pytest.mark.parametrize("size", ["small", "large"])
@pytest.mark.slow
def test_flow_is_torchvisions(files, size):
    frames = pictures(128, 160, 3)
    found = Raft(files[size], "cpu")(list(itertools.pairwise(frames)))
    for flow, first, second in zip(found, frames, frames[1:], strict=False):
        expected = published_flow(files[size], first, second)
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(flow, expected, atol=1e-3 * np.abs(expected).max())


def test_other_sizes_are_padded_at_the_right_and_below(files):
    first, second = pictures(131, 90, 2)
    flow = Raft(files["small"], "cpu")([(first, second)])[0]
    grown = [np.pad(p, ((0, 5), (0, 38), (0, 0)), mode="edge") for p in (first, second)]
    expected = published_flow(files["small"], *grown)[:131, :90]
    assert flow.shape == (131, 90, 2)
    np.testing.assert_allclose(flow, expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((450, 801), (450, 801)),
        ((360, 640), (450, 800)),
        ((1080, 1920), (450, 800)),
        ((640, 360), (800, 450)),
        ((500, 500), (450, 450)),
        ((268, 640), (388, 927)),
    ],
)
def test_pictures_are_brought_to_800x450(shape, expected):
    assert sized(np.zeros((*shape, 3), np.uint8)).shape == (*expected, 3)


@pytest.mark.slow
def test_columns_are_those_of_the_flow_in_short_sides_per_second(files):
    motion = Motion(method="raft", network=str(files["small"]))
    measure = motion.load("cpu", {motion.network: files["small"]})
    first, second = pictures(450, 450, 2)
    row = measure([clip([first, second], [0.0, 0.25])])[0]
    assert set(row) == set(Motion.columns)
    padded = [np.pad(p, ((0, 6), (0, 6), (0, 0)), mode="edge") for p in (first, second)]
    flow = published_flow(files["small"], *padded)[:450, :450]
    y, x = np.mgrid[:450, :450]
    seen = (x + flow[..., 0] >= 2) & (x + flow[..., 0] <= 447) & (y + flow[..., 1] >= 2) & (y + flow[..., 1] <= 447)
    # The mean of the cells' speeds is at most that of the pixels' and at least the speed of the mean.
    speed = np.hypot(flow[..., 0], flow[..., 1])[seen].mean() / 450 / 0.25
    least = np.hypot(*flow[seen].mean(0)) / 450 / 0.25
    assert 0.9 * least <= row["motion"] <= 1.02 * speed
    assert row["motion"] > 0


def test_equal_frames_do_not_move_and_flat_ones_are_an_error(files):
    motion = Motion(method="raft", network=str(files["small"]))
    measure = motion.load("cpu", {motion.network: files["small"]})
    frame = pictures(90, 160, 1)[0]
    row = measure([clip([frame, frame, frame], [0.0, 0.5, 1.0])])[0]
    assert (row["motion"], row["static_share"], row["camera_direction"]) == (0.0, 1.0, "static")
    with pytest.raises(AnnotatorError, match="too little contrast"):
        measure([clip([frame * 0, frame * 0], [0.0, 0.5])])
    assert all(value is None for value in measure([clip([frame], [0.0])])[0].values())


def test_what_it_asks_for_and_is_known_by():
    raft, plain = Motion(method="raft"), Motion()
    assert (raft.frames.short_side_px, raft.frames.gray, raft.frames.fps) == (450, False, 2.0)
    assert (plain.frames.short_side_px, plain.frames.gray) == (64, True)
    assert (raft.weights, plain.weights) == (("raft-large",), ())
    assert raft.params()["method"] == "raft"
    assert "short_side_px" not in raft.params()
    assert Motion(method="raft", network="/a/b.pth").params() == raft.params()
    with pytest.raises(UserError, match="farneback, raft"):
        Motion(method="dis").check()


def test_other_files_are_refused(tmp_path):
    for state in ({"a": torch.zeros(2)}, {"feature_encoder.convnormrelu.0.weight": torch.zeros(32, 3, 7, 7)}):
        torch.save(state, tmp_path / "other.pth")
        with pytest.raises(UserError, match="does not hold RAFT's weights"):
            Raft(tmp_path / "other.pth", "cpu")


def test_farneback_does_not_wait_for_torch():
    code = (
        "import sys; from clipmill.curate.annotators.motion import Motion; Motion().load('cpu', {}); print('torch' in"
        " sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )


def test_true_speed_with_the_published_weights():
    path = weights.find("raft-large", {})
    if path is None:
        pytest.skip("RAFT's weights are not on this machine: curate weights pull raft-large")
    measure = Motion(method="raft").load("cpu", {"raft-large": Path(path)})
    big = cv2.cvtColor(texture(0, 1000, 1600), cv2.COLOR_GRAY2RGB)
    frames = [big[100 : 100 + 450, 100 + 45 * k : 900 + 45 * k] for k in range(3)]
    row = measure([clip(frames, [0.0, 0.5, 1.0])])[0]
    assert row["motion"] == pytest.approx(0.2, rel=0.05)
    assert row["camera_direction"] == "right"


def test_frames_of_a_file_arrive_large_and_in_colour(shared_videos):
    seen = of_file(Motion(method="raft", fps=1.0), shared_videos / "dev" / "cotracker_paragliding.mp4", last=40)
    assert seen.frames.shape == (2, 450, 801, 3)
