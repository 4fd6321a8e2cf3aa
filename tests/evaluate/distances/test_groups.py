"""Error bars of clips that are not independent, against the spread over fresh draws."""

import io
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.commands import invoke
from helpers.textures import moving, noisy, write_file

import clipmill.evaluate as api
from clipmill.evaluate.distances.error_bar import leave_groups_out
from clipmill.evaluate.distances.frechet import frechet_distance
from clipmill.evaluate.distances.grouped import group_codes, random_parts
from clipmill.evaluate.distances.grouped_mmd import grouped_mmd
from clipmill.evaluate.distances.mmd import mmd_with_error, polynomial_mmd
from clipmill.evaluate.extraction.measure import Measured
from clipmill.evaluate.mean_score import mean_score
from clipmill.evaluate.metrics import metric_class
from clipmill.evaluate.sets import open_set

CLIPS, DIM = 120, 16


def drawn(seed: int, each: int, shift: float = 0.5, correlation: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """Features of two sets, each of CLIPS clips, `each` of one source video."""
    rng = np.random.default_rng(seed)
    sets = []
    for mean in (0.0, shift):
        sources = np.repeat(rng.standard_normal((CLIPS // each, DIM)), each, axis=0)
        own = rng.standard_normal((CLIPS, DIM))
        sets.append(np.sqrt(correlation) * sources + np.sqrt(1 - correlation) * own + mean)
    return sets[0], sets[1]


def rms(errors: list[float | None]) -> float:
    return float(np.sqrt(np.mean(np.square(np.array(errors, float)))))


@pytest.mark.parametrize("each", [4, 8])
@pytest.mark.parametrize("shift", [0.0, 0.5])
@pytest.mark.slow
def test_a_frechet_distance_scatters_as_its_error_bar_says(each, shift):
    spread = np.std([frechet_distance(*drawn(k, each, shift)) for k in range(400)], ddof=1)
    groups = (np.arange(CLIPS) // each,) * 2
    splits = {2: 24, 3: 4, 4: 4, 6: 4}
    known = [leave_groups_out(*drawn(k, each, shift), splits=splits, groups=groups) for k in range(40)]
    assert rms([k.standard_error for k in known]) == pytest.approx(spread, rel=0.2)
    alone = [leave_groups_out(*drawn(k, each, shift), splits=splits).standard_error for k in range(10)]
    assert rms(alone) < 0.7 * spread, "clips taken as independent promise too much"


@pytest.mark.parametrize("each", [4, 8])
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_a_kernel_distance_scatters_as_its_error_bar_says(each, shift):
    spread = np.std([polynomial_mmd(*drawn(k, each, shift)) for k in range(400)], ddof=1)
    groups = (np.arange(CLIPS) // each,) * 2
    known = [grouped_mmd(*drawn(k, each, shift), groups).standard_error for k in range(60)]
    assert rms(known) == pytest.approx(spread, rel=0.2)
    assert rms([mmd_with_error(*drawn(k, each, shift)).standard_error for k in range(60)]) < 0.75 * spread


@pytest.mark.parametrize("sizes", [[8] * 15, [1, 2, 3, 4, 6, 8, 12, 20] * 2])
def test_a_mean_scatters_as_its_error_bar_says(sizes):
    def one(seed: int) -> Measured:
        rng = np.random.default_rng(seed)
        values = np.concatenate([rng.normal() + 0.5 * rng.standard_normal(size) for size in sizes])
        groups = [str(k) for k, size in enumerate(sizes) for _ in range(size)]
        return Measured([""] * len(values), values=values[:, None].astype(np.float32), groups=groups)

    scores = [mean_score(one(k)) for k in range(600)]
    assert rms([s.standard_error for s in scores]) == pytest.approx(np.std([s.value for s in scores]), rel=0.2)


def test_groups_of_one_change_nothing():
    x, y = drawn(0, 1)
    each = (np.arange(CLIPS),) * 2
    assert grouped_mmd(x, y, each).standard_error == pytest.approx(mmd_with_error(x, y).standard_error, rel=0.02)
    assert grouped_mmd(x, y, each).value == mmd_with_error(x, y).value


def test_kernel_sums_over_groups_do_not_depend_on_order_or_blocks(monkeypatch):
    x, y = drawn(1, 1)
    rng = np.random.default_rng(0)
    groups = tuple(group_codes(rng.integers(0, 20, CLIPS)) for _ in range(2))
    whole = grouped_mmd(x, y, groups)
    order = rng.permutation(CLIPS)
    shuffled = grouped_mmd(x[order], y, (group_codes(groups[0][order]), groups[1]))
    monkeypatch.setattr("clipmill.evaluate.distances.grouped_mmd._BLOCK_ROWS", 7)
    for other in (shuffled, grouped_mmd(x, y, groups)):
        assert other.standard_error == pytest.approx(whole.standard_error, rel=1e-9)


def test_parts_hold_whole_groups_and_every_row_once():
    groups = group_codes(np.repeat(["a", "b", "c", "d", "e", "f", "g"], [1, 9, 2, 5, 5, 1, 7]))
    parts = random_parts(groups, 3, np.random.default_rng(0))
    assert sorted(np.concatenate(parts)) == list(range(30))
    assert all(set(groups[a]).isdisjoint(groups[b]) for a, b in ((parts[0], parts[1]), (parts[1], parts[2])))
    assert max(map(len, parts)) - min(map(len, parts)) <= 9


def test_too_few_groups_are_no_error_bar_and_say_so():
    x, y = drawn(0, 40)
    for name in ("fvd", "kvd"):
        score = metric_class(name)()(x, y, groups=(np.arange(CLIPS) // 40,) * 2)
        assert score.standard_error is None
        assert any("3 real and 3 fake independent groups" in line for line in score.warnings)


def manifest(folder, videos, sources) -> None:
    """Clips with the source videos that a curate run would name."""
    paths = [write_file(folder / f"c{k}.mp4", video).name for k, video in enumerate(videos)]
    pq.write_table(
        pa.table({"clip_id": [f"{k:03d}" for k in range(len(paths))], "path": paths, "video_id": sources}),
        folder / "manifest.parquet",
    )


def test_clips_of_a_run_are_grouped_by_their_source(tmp_path):
    videos = np.concatenate([noisy(np.repeat(moving(1, k, side=32), 6, axis=0), 3, k) for k in range(8)])
    manifest(tmp_path, videos, [f"v{k // 6}" for k in range(48)])
    row = api.score(["flicker"], None, tmp_path, settings={"n_fake": 0, "clip_choice": "first"})[0]
    alone = api.score(["flicker"], None, videos, settings={"n_fake": 0, "clip_choice": "first"})[0]
    assert row.n_fake == 48
    assert row.standard_error == pytest.approx(alone.standard_error * np.sqrt(6), rel=0.2)
    settings = {"features": "mini", "n_real": 0, "n_fake": 0, "clip_frames": 8}
    fake = moving(24, 99, side=32)
    known, blind = (api.kvd(spec, fake, settings=settings) for spec in (tmp_path, videos))
    assert known.standard_error > 1.1 * blind.standard_error
    # Statistics carry the groups along.
    made = invoke(
        "evaluate", "stats", tmp_path, "--out", tmp_path / "s.npz", "--features", "mini", "--set", "n_real=0", "--set",
        "clip_frames=8", "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    stored = api.kvd(tmp_path / "s.npz", fake, settings=settings)
    assert stored.standard_error == pytest.approx(known.standard_error)


def test_clips_of_shards_are_grouped_by_their_source(tmp_path):
    clip = write_file(tmp_path / "c.mp4", moving(1, 0, frames=2, side=32)[0]).read_bytes()
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name, data in (
            ("a.mp4", clip), ("a.json", b'{"video_id": "v1"}'), ("b.json", b'{"video_id": "v1"}'), ("b.mp4", clip),
            ("c.mp4", clip), ("c.json", b"[" * 100_000), ("d.mp4", clip), ("e.mp4", clip),
            ("e.json", b'{"video_id": 3}'),
        ):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert [video.group for video in open_set(str(tmp_path / "*.tar")).videos] == ["v1", "v1", "", "", ""]


def test_copies_do_not_make_a_bar_smaller():
    fake = moving(10, 1, side=32)
    settings = {"n_fake": 0, "clip_choice": "first"}
    once = api.score(["flicker"], None, fake, settings=settings)[0]
    thrice = api.score(["flicker"], None, np.concatenate([fake] * 3), settings=settings)[0]
    assert thrice.value == pytest.approx(once.value)
    assert thrice.standard_error == pytest.approx(once.standard_error, rel=1e-5)
