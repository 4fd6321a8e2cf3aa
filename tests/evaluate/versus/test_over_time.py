"""`evaluate over-time`: where long videos get worse, and error bars that hold."""

import json

import numpy as np
import pytest
from helpers.commands import evaluate, invoke, one_line
from helpers.textures import moving, noisy

from clipmill.evaluate.distances.mmd import polynomial_mmd
from clipmill.evaluate.evaluation import Evaluation, Gathered
from clipmill.evaluate.extraction.measure import Measured, Settings
from clipmill.evaluate.frames.protocol import load
from clipmill.evaluate.metrics.kvd import KVD
from clipmill.evaluate.sets import Video
from clipmill.evaluate.versus.over_time import curve_of

ALL = {"n_real": 0, "n_fake": 0, "features": "mini"}


@pytest.fixture(scope="module")
def long_videos():
    """Twelve of four windows, noisy from the third on, and one of three windows."""
    videos = list(moving(13, 2, frames=64, side=32))
    return [np.concatenate([v[:32], noisy(v[32:], 90)]) for v in videos[:12]] + [videos[12][:48]]


@pytest.mark.slow
def test_noise_from_a_frame_on_makes_the_curve_jump_there(long_videos):
    real = moving(14, 1, side=32)
    evaluation = Evaluation(real, long_videos, load("clipmill", ALL), Settings())
    evaluation.windows(4)
    found = {one.name: one for one in evaluation.gathered(["kvd", "flicker"])[0]}
    for name in ("kvd", "flicker"):
        curve = curve_of(found[name], 4, 0)
        assert (curve.step, curve.clips, curve.left_out) == (2, 12, 1)
        assert abs(curve.values[1] - curve.values[0]) < 2.5 * curve.since_first[1]
        assert abs(curve.values[2] - curve.values[0]) > 3 * curve.since_first[2]
        assert abs(curve.slope) > 3 * curve.slope_error
    third = Evaluation(real, np.stack([v[32:48] for v in long_videos[:12]]), load("clipmill", ALL), Settings())
    assert curve_of(found["kvd"], 4, 0).values[2] == pytest.approx(third.score("kvd").value, rel=1e-6)


def drawn(seed: int, slope: float) -> Gathered:
    """Features of 30 videos of three windows that share much, and of real clips."""
    rng = np.random.default_rng(seed)
    own, names = rng.standard_normal((30, 1, 8)), [f"{k}" for k in range(30)]
    values = 0.8 * own + 0.6 * rng.standard_normal((30, 3, 8)) + slope * np.arange(3)[:, None]
    videos = [Video(name, name, open) for name in names for _ in range(3)]
    keys = [f"{name}#{k}" for name in names for k in range(3)]
    fake = Measured(keys, keys, values.reshape(90, 8), groups=[v.key for v in videos], videos=videos)
    real = Measured(names, names, rng.standard_normal((30, 8)), groups=names)
    return Gathered("kvd", KVD(), fake, real)


@pytest.mark.slow
def test_a_slope_scatters_as_its_error_bar_says():
    curves = [curve_of(drawn(seed, 0.4), 3, seed) for seed in range(6)]
    spread = [slope_of(drawn(seed, 0.4)) for seed in range(300)]
    assert slope_of(drawn(0, 0.4)) == pytest.approx(curves[0].slope, rel=1e-9)
    assert np.sqrt(np.mean([c.slope_error**2 for c in curves])) == pytest.approx(np.std(spread), rel=0.2)
    ends = [c.errors[2] for c in curves]
    values = [polynomial_mmd(g.real.values, g.fake.values[2::3]) for g in map(drawn, range(300), [0.4] * 300)]
    assert np.sqrt(np.mean(np.square(ends))) == pytest.approx(np.std(values), rel=0.2)


def slope_of(found: Gathered) -> float:
    distances = [polynomial_mmd(found.real.values, found.fake.values[k::3]) for k in range(3)]
    return float(np.polyfit(range(3), distances, 1)[0])


def test_the_command_tells_the_curve(long_videos, tmp_path):
    np.save(tmp_path / "real.npy", moving(9, 1, side=32))
    np.save(tmp_path / "long.npy", np.stack(long_videos[:9]))
    common = ("over-time", tmp_path / "long.npy", "--cache", tmp_path, "--features", "mini")
    out = tmp_path / "curves.json"
    said = evaluate(
        *common, "--real", tmp_path / "real.npy", "--windows", 4, "--metrics", "kvd,flicker", "--out", out
    ).stdout
    assert "kvd: kernel distance (mini); 9 videos" in said
    assert "  frames 48 to 63: " in said
    assert said.count("the largest step is at frame 32") == 2
    assert [len(curve["values"]) for curve in json.loads(out.read_text())["curves"]] == [4, 4]
    one_line(invoke("evaluate", *common, "--metrics", "flicker", "--windows", 5), "--windows takes fewer")
    one_line(invoke("evaluate", *common, "--metrics", "kvd"), "--real REAL")
