"""What is extreme is a value, what is missing has a reason, and neither takes other numbers with it."""

import tracemalloc
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from helpers.commands import invoke
from helpers.textures import moving, noisy, write_files

import clipmill.evaluate as api
from clipmill.curate.errors import UserError
from clipmill.evaluate.evaluation import Evaluation
from clipmill.evaluate.extraction.measure import Measurement, Settings, measure
from clipmill.evaluate.frames.protocol import load
from clipmill.evaluate.score_rows import read
from clipmill.evaluate.sets import Video, VideoSet, open_set

ALL = {"n_real": 0, "n_fake": 0}


def mean_psnr(real: np.ndarray, fake: np.ndarray) -> float:
    """dB, by the definition, of the clips that are not equal."""
    errors = np.square(real.astype(float) - fake).mean((1, 2, 3, 4))
    return float(np.mean([10 * np.log10(255**2 / e) for e in errors if e > 0]))


def test_the_best_reconstructions_count():
    real = moving(12, 0)
    fake = np.concatenate([noisy(real[:6], 2), noisy(real[6:], 30)])
    fake[:6, 3] = real[:6, 3]
    row = api.score(["psnr"], real, fake, settings=ALL)[0]
    assert row.n_fake == 12
    assert not row.skipped
    assert row.value == pytest.approx(mean_psnr(real, fake), rel=1e-5)
    assert row.details["equal_frames"] == 6
    assert row.details["frames"] == 12 * 16
    assert any("6 of 192 frames are equal to their originals" in line for line in row.warnings)


def test_given_frames_of_a_prediction_are_counted():
    real = moving(8, 0)
    fake = noisy(real, 20)
    fake[:, :2] = real[:, :2]
    psnr, ssim = api.score(["psnr", "ssim"], real, fake, settings=ALL)
    assert psnr.value == pytest.approx(mean_psnr(real, fake), rel=1e-5)
    assert psnr.details["equal_frames"] == ssim.details["equal_frames"] == 16


@pytest.mark.parametrize("equal", [12, 3, 1])
def test_a_perfect_clip_is_perfect_and_counted(tmp_path, equal):
    real = moving(12, 0)
    fake = noisy(real, 10)
    fake[:equal] = real[:equal]
    np.save(tmp_path / "real.npy", real)
    np.save(tmp_path / "fake.npy", fake)
    sets = (tmp_path / "real.npy", tmp_path / "fake.npy")
    done = evaluate_here("run", *sets, "--metrics", "psnr", "--out", tmp_path / "s.parquet", "--cache", tmp_path / "c")
    row = read(tmp_path / "s.parquet")[0]
    assert row.value == np.inf
    assert row.standard_error is None
    assert row.n_fake == 12
    assert row.details["perfect_clips"] == equal
    assert f"{equal} of 12 fake clips are perfect" in done
    if equal < 12:
        assert row.details["mean_of_others"] == pytest.approx(mean_psnr(real, fake), rel=1e-5)
    page = tmp_path / "page.html"
    evaluate_here("report", tmp_path / "s.parquet", "--out", page)
    assert "infinite" in page.read_text(encoding="utf-8")
    # Stored values are read back as what they were.
    again = evaluate_here("run", *sets, "--metrics", "psnr", "--cache", tmp_path / "c")
    assert f"{equal} of 12 fake clips are perfect" in again


def evaluate_here(*arguments) -> str:
    """Stdout of a command that works, in this process."""
    done = invoke("evaluate", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_metric_that_cannot_be_computed_does_not_take_the_others(tmp_path):
    np.save(tmp_path / "real.npy", moving(12, 1))
    np.save(tmp_path / "fake.npy", moving(12, 2))
    out = tmp_path / "scores.parquet"
    done = invoke(
        "evaluate", "run", tmp_path / "real.npy", tmp_path / "fake.npy", "--metrics", "kvd,fvd,flicker,dynamic-degree",
        "--features", "mini", "--out", out, "--cache", tmp_path / "c",
    )  # fmt: skip
    assert done.returncode == 2
    rows = read(out)
    assert [row.metric for row in rows] == ["kvd", "fvd", "flicker"]
    assert all(np.isfinite(row.value) for row in rows)
    for row in rows:
        assert str(row) in done.stdout
    lines = [line for line in done.stderr.splitlines() if line.startswith("evaluate: ")]
    assert len(lines) == 1
    assert "1 of 4 metrics" in lines[0]
    assert "dynamic-degree" in lines[0]
    assert "no rate is known" in lines[0]


@pytest.mark.parametrize(
    ("missing", "reason"), [("clip-similarity", "no caption"), ("psnr", "no video of this name"), ("fid", "weights")]
)
def test_whatever_is_missing_is_listed_with_its_reason(tmp_path, monkeypatch, missing, reason):
    monkeypatch.setenv("CLIPMILL_WEIGHTS", str(tmp_path / "none"))
    real, fake = write_files(tmp_path / "real", moving(2, 1)), tmp_path / "fake"
    for k, path in enumerate(sorted(write_files(tmp_path / "x", moving(2, 2)).iterdir())):
        fake.mkdir(exist_ok=True)
        path.rename(fake / f"other{k}.mp4")
    with pytest.raises(UserError, match=reason) as caught:
        api.score([missing, "flicker"], real, fake, settings=ALL)
    assert [row.metric for row in caught.value.rows] == ["flicker"]
    assert list(caught.value.problems) == [missing]


@pytest.mark.parametrize(
    ("name", "videos", "reason"),
    [
        ("flicker", moving(2, 0, frames=1), "one frame"),
        ("motion-smoothness", moving(2, 0, frames=2), "fewer than three frames"),
        ("dynamic-degree", np.full((2, 16, 64, 64, 3), 90, np.uint8), "too little contrast"),
        ("dynamic-degree", moving(2, 0), "no rate is known"),
        ("warping-error", moving(2, 0, side=8)[:, :, :4, :4], "below 8 px"),
    ],
)
def test_nothing_can_be_said_for_a_reason(name, videos, reason):
    rate = {} if reason.startswith("no rate") else {"stored_fps": 25}
    with pytest.raises(UserError, match=reason):
        api.score([name], None, videos, settings=ALL | rate | {"clip_frames": videos.shape[1]})


@pytest.mark.slow
def test_each_clip_is_decoded_once_for_all_metrics():
    opened = []

    def counted(videos: np.ndarray) -> VideoSet:
        found = open_set(videos)
        return replace(
            found, videos=[replace(v, open=lambda v=v: opened.append(v.key) or v.open()) for v in found.videos]
        )

    names = ["kvd", "fvd", "flicker", "motion-smoothness", "warping-error"]
    real, fake, protocol = moving(9, 1), moving(9, 2), load("clipmill", ALL | {"features": "mini"})
    together = Evaluation(real, fake, protocol, Settings(), _sets={"real": counted(real), "fake": counted(fake)})
    rows = together.scores(names)
    assert len(opened) == 18
    alone = [Evaluation(real, fake, protocol, Settings()).score(name) for name in names]
    assert [row.value for row in alone] == [row.value for row in rows]
    assert [row.fingerprint for row in alone] == [row.fingerprint for row in rows]


@pytest.mark.slow
def test_each_clip_is_decoded_once_for_all_kinds_of_metrics(tmp_path):
    """Of videos, of features, of captions' and of pairs' frames, which begin elsewhere: one reading of each fake video,
    and of each real one for itself and beside its reconstruction.
    """
    opened = []

    def counted(videos: VideoSet) -> VideoSet:
        def reading(video):
            return replace(video, open=lambda: opened.append(video.key) or video.open())

        return replace(videos, videos=[reading(v) for v in videos.videos])

    names = ["kvd", "flicker", "psnr", "ssim"]
    real = open_set(moving(6, 1, frames=24))
    fake = open_set(noisy(moving(6, 1, frames=24), 6))
    protocol = load("clipmill", ALL | {"features": "mini"})

    def evaluation() -> Evaluation:
        return Evaluation("real", "fake", protocol, Settings(), _sets={"real": counted(real), "fake": counted(fake)})

    rows = evaluation().scores(names)
    assert Counter(opened) == {v.key: 2 for v in real.videos} | {v.key: 1 for v in fake.videos}
    assert [evaluation().score(name).value for name in names] == [row.value for row in rows]


def test_memory_does_not_grow_with_the_set():
    """Of videos that are made when they are opened: ten times as many take a few bytes more, not a clip."""

    class Made:
        def times_s(self):
            return np.full(16, np.nan)

        def read(self, index):
            return np.full((len(index), 64, 64, 3), 9, np.uint8)

    def peak(count: int) -> int:
        videos = VideoSet("", "", [Video(str(k), str(k), lambda: nullcontext(Made())) for k in range(count)])
        what = Measurement(lambda pixels, fps, video: pixels, lambda items: [np.ones(1)] * len(items), "f")
        tracemalloc.start()
        measure(videos, 0, load("clipmill", ALL), what, Settings(batch=2))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    clip = 16 * 64 * 64 * 3
    assert 2 * clip < peak(20) < 12 * clip
    assert peak(200) - peak(20) < 3 * clip


def test_reconstructions_that_are_copies_have_originals_of_their_own(tmp_path):
    """One video under four names has four errors, not one; and what is stored belongs to a pair, not to a video."""
    real = moving(4, 0)
    fake = np.repeat(noisy(real[:1], 5), 4, axis=0)
    row = api.score(["psnr"], real, fake, settings=ALL, cache=tmp_path)[0]
    assert row.value == pytest.approx(mean_psnr(real, fake), rel=1e-5)
    swapped = fake.copy()
    swapped[0] = real[1]
    api.score(["psnr"], real, swapped, settings=ALL, cache=tmp_path)
    second = api.score(["psnr"], real, swapped[[1, 0, 2, 3]], settings=ALL, cache=tmp_path)[0]
    assert second.details["perfect_clips"] == 1


@pytest.mark.slow
def test_statistics_count_what_they_give(tmp_path):
    real = write_files(tmp_path / "real", moving(12, 1))
    fake, file = moving(6, 2), tmp_path / "real.npz"
    evaluate_here("stats", real, "--out", file, "--features", "mini", "--set", "n_real=0", "--cache", tmp_path / "c")
    for n_real in (5, 0, 12, 40):
        for changes in ({}, {"choose": "first"}, {"missing": "repeat"}):
            settings = {"n_real": n_real, "n_fake": 0, "features": "mini"} | changes
            videos, stored = (api.fvd(spec, fake, settings=settings) for spec in (real, file))
            assert stored.n_real == videos.n_real
            assert stored.facts == videos.facts
            assert stored.value == pytest.approx(videos.value, rel=1e-6)
    assert api.fvd(file, fake, settings={"n_real": 5, "features": "mini"}).facts["n_real"] == 5
