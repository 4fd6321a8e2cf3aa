"""From pixels to the number, against the original TensorFlow graph, its resize and tfgan's functions: goldens/ in the
shared folder.

The network has seeded variables, so no weights are needed and a distance here is not an FVD; the path to it is that of
one.
"""

import json
import runpy

import numpy as np
import pytest
import torch
from helpers.commands import SHARED

from clipmill.evaluate.distances.frechet import frechet_distance
from clipmill.evaluate.distances.mmd import polynomial_mmd
from clipmill.evaluate.features.i3d_random import I3DRandom
from clipmill.evaluate.frames.protocol import load
from clipmill.evaluate.frames.resize import preprocess

pytestmark = pytest.mark.slow

GATE = 1e-5
FEW, SOME = 3, 6


@pytest.fixture(scope="module")
def goldens():
    folder = SHARED / "goldens"
    if not folder.is_dir():
        pytest.skip(f"no reference values at {folder}")
    return folder


@pytest.fixture(scope="module")
def reference(goldens):
    """Set -> features of the original graph, [64, 400]."""
    with np.load(goldens / "tf_features.npz") as stored:
        return {name: stored[name] for name in stored}


@pytest.fixture(scope="module")
def videos(goldens):
    """Set -> uint8 [64, 16, 64, 64, 3]."""
    make = runpy.run_path(str(goldens / "make_videos.py"))
    kinds = {"noise": make["noise_videos"], "sq": make["square_videos"]}
    return lambda name: kinds[name[:-1]](64, seed=int(name[-1]))


def features(clips, protocol="original", **options):
    network, rules = I3DRandom(**options), load(protocol)
    batches = [clips[start : start + 8] for start in range(0, len(clips), 8)]
    return np.concatenate(
        [network(torch.stack([preprocess(c, rules, 224) for c in batch])).numpy() for batch in batches]
    )


def feature_error(found, expected):
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def frechet_error(found, expected):
    return abs(frechet_distance(*found) / frechet_distance(*expected) - 1)


def test_squares_to_the_number(videos, reference):
    """Pixels to both distances. The distances of the whole sets are held on the original's features, below."""
    found = {name: features(videos(name)[:SOME]) for name in ("sq0", "sq1")}
    expected = {name: reference[name][:SOME] for name in found}
    for name, values in found.items():
        assert feature_error(values, expected[name]) < GATE
        assert np.abs(values - expected[name]).max() < GATE * np.abs(expected[name]).max()
    for distance in (frechet_distance, polynomial_mmd):
        assert distance(*found.values()) == pytest.approx(distance(*expected.values()), rel=GATE)


def test_noise_in_part(videos, reference):
    """The kernel distance of the noise pair is left out: it is a difference of terms a hundred thousand times larger,
    and the rounding of the original graph alone moves it by about 3e-5 (against float64).
    """
    pair = [features(videos(name)[:FEW]) for name in ("noise0", "noise1")]
    expected = [reference[name][:FEW] for name in ("noise0", "noise1")]
    assert all(feature_error(f, e) < GATE for f, e in zip(pair, expected, strict=True))
    assert frechet_error(pair, expected) < GATE


def test_metric_layer_on_the_original_features(goldens, reference):
    for pair, (fvd, kvd) in json.loads((goldens / "pipeline.json").read_text(encoding="utf-8"))["values"].items():
        real, fake = (reference[name] for name in pair.split("|"))
        assert frechet_distance(real, fake) == pytest.approx(fvd, rel=1e-9)
        assert polynomial_mmd(real, fake) == pytest.approx(kvd, rel=1e-9)


@pytest.mark.parametrize(
    ("mistake", "changes"),
    [("epsilon 1e-5 as in VideoGPT's family", {"bn_eps": 1e-5}), ("half-pixel resize", {"protocol": "stylegan-v"})],
)
def test_the_gate_catches(videos, reference, mistake, changes):
    """The same test with the mistake made fails, by a factor of a hundred and more."""
    pair = [features(videos(name)[:FEW], **changes) for name in ("noise0", "noise1")]
    expected = [reference[name][:FEW] for name in ("noise0", "noise1")]
    assert min(feature_error(f, e) for f, e in zip(pair, expected, strict=True)) > 100 * GATE, mistake
    assert frechet_error(pair, expected) > 100 * GATE, mistake
