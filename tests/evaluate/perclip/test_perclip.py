"""A value of each clip, and scores of groups of clips, against what is computed apart from them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.commands import evaluate, invoke, one_line
from helpers.textures import moving, noisy, write_file

from clipmill.evaluate.distances.frechet import frechet_distance
from clipmill.evaluate.distances.mmd import PolynomialKernel, polynomial_mmd
from clipmill.evaluate.distances.shares import frechet_shares, mmd_shares
from clipmill.evaluate.evaluation import Evaluation
from clipmill.evaluate.extraction.measure import Settings
from clipmill.evaluate.frames.protocol import load
from clipmill.evaluate.perclip.groups import by_column
from clipmill.evaluate.perclip.table import write_clips

ALL = {"n_real": 0, "n_fake": 0, "features": "mini"}


def gaussians(n: int, seed: int, shift: float = 0.0, dim: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dim)) * np.linspace(0.5, 2, dim) + shift


@pytest.mark.parametrize(
    ("shares", "distance"),
    [
        (frechet_shares, frechet_distance),
        (lambda x, y: mmd_shares(x, y, PolynomialKernel()), polynomial_mmd),
    ],
)
def test_a_share_is_how_much_the_distance_falls_without_the_clip(shares, distance):
    real, fake = gaussians(400, 0), gaussians(300, 1, 0.4)
    fake[7] += 6
    found = shares(real, fake)
    left_out = [len(fake) * (distance(real, fake) - distance(real, np.delete(fake, k, 0))) for k in range(60)]
    assert found.argmax() == 7
    assert abs(found.mean()) < 1e-9 * abs(found).max()
    others = np.delete(np.arange(60), 7)
    assert np.corrcoef(found[others], np.array(left_out)[others])[0, 1] > 0.98
    assert found[others].std() == pytest.approx(np.array(left_out)[others].std(), rel=0.1)


def test_shares_of_a_single_far_clip_where_clips_are_fewer_than_dimensions():
    real, fake = gaussians(30, 0, dim=64), gaussians(20, 1, dim=64)
    fake[3] += 5
    assert frechet_shares(real, fake).argmax() == 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve clips of four sources and two categories, the manifest of a run in small."""
    root = tmp_path_factory.mktemp("clips")
    videos = noisy(moving(12, 1), 4)
    paths = [write_file(root / f"c{k:02d}.mp4", video, fps=25 if k % 2 else 50).name for k, video in enumerate(videos)]
    columns = {
        "clip_id": [f"{k:03d}" for k in range(12)],
        "path": paths,
        "video_id": [f"s{k // 3}" for k in range(12)],
        "caption": [f"prompt {k // 2}" for k in range(12)],
        "category": ["surf" if k < 5 else "snow" for k in range(12)],
        "motion": [0.1 * k for k in range(12)],
    }
    pq.write_table(pa.table(columns), root / "manifest.parquet")
    return root


@pytest.fixture(scope="module")
def gathered(folder):
    evaluation = Evaluation(moving(9, 5), folder, load("clipmill", ALL), Settings())
    return evaluation, {found.name: found for found in evaluation.gathered(["flicker", "kvd", "recall"])[0]}


def test_the_table_has_a_row_for_each_clip_and_metric(gathered, tmp_path):
    evaluation, found = gathered
    count, without = write_clips(tmp_path / "clips.parquet", list(found.values()))
    rows = pq.read_table(tmp_path / "clips.parquet").to_pylist()
    assert (count, without) == (len(rows), ["recall"])
    fakes = [row for row in rows if row["set"] == "fake" and row["metric"] == "flicker"]
    assert np.mean([row["value"] for row in fakes]) == pytest.approx(evaluation.row(found["flicker"]).value, rel=1e-6)
    assert len([row for row in rows if row["set"] == "real"]) == 9
    assert fakes[4] | {"value": 0} == {
        "set": "fake",
        "clip": "004",
        "metric": "flicker",
        "value": 0,
        "kind": "value",
        "unit": "",
        "source": "s1",
        "caption": "prompt 2",
        "category": "surf",
        "length_s": 0.32,
        "problem": None,
    }


def test_groups_of_a_mean_add_up_to_the_whole_and_those_of_a_distance_do_not(gathered):
    evaluation, found = gathered
    for name in ("category", "caption", "source", "length", "motion"):
        groups = by_column(found["flicker"], name, 0)
        assert sum(g.n_fake for g in groups) == 12
        mean = sum(g.value * g.n_fake for g in groups) / 12
        assert mean == pytest.approx(evaluation.row(found["flicker"]).value, rel=1e-6)
    assert next(g.group for g in by_column(found["flicker"], "motion", 0)) == "0 to 0.275"
    snow, surf = by_column(found["kvd"], "category", 0)
    assert (snow.n_fake, surf.n_fake, snow.n_real) == (7, 5, 9)
    alone = polynomial_mmd(found["kvd"].real.values, found["kvd"].fake.values[5:])
    assert snow.value == pytest.approx(alone, rel=1e-9)
    assert (7 * snow.value + 5 * surf.value) / 12 != pytest.approx(evaluation.row(found["kvd"]).value, rel=1e-3)


def test_a_group_is_compared_with_real_clips_of_the_same_group(folder):
    evaluation = Evaluation(folder, folder, load("clipmill", ALL), Settings())
    found = evaluation.gathered(["kvd"])[0][0]
    assert [(g.n_fake, g.n_real) for g in by_column(found, "category", 0)] == [(7, 7), (5, 5)]
    alone = by_column(found, "motion", 0)
    assert all(g.n_real == g.n_fake == 3 for g in alone)


def test_the_command_writes_and_tells(folder, tmp_path):
    out = tmp_path / "new" / "clips.parquet"
    done = evaluate(
        *("run", folder, folder, "--metrics", "flicker,kvd", "--features", "mini", "--cache", tmp_path),
        *("--by", "category", "--clips", out),
    )
    assert "flicker by category (means; weighted by their clips they add up to the whole):" in done.stdout
    assert "kvd by category (to the real clips of the same group; distances of groups do not add up" in done.stdout
    assert "  surf: " in done.stdout
    assert f"36 values of clips: {out}" in done.stdout
    wrong = ("run", folder, folder, "--metrics", "flicker", "--cache", tmp_path)
    one_line(invoke("evaluate", *wrong, "--by", "categry"), "did you mean category?")
    one_line(invoke("evaluate", *wrong, "--clips", tmp_path), "is a folder")
