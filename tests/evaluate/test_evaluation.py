"""The command `evaluate` from end to end, on the offline network: resuming, skipping, comparing, and what bad input
gets.
"""

import json
import os
import shlex
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from helpers.barcode import write_video
from helpers.commands import evaluate, invoke, one_line

import clipmill.evaluate as api
from clipmill.evaluate.extraction.measure import Measurement, Settings, measure
from clipmill.evaluate.frames.protocol import Protocol, load, names
from clipmill.evaluate.score_rows import differing_fields, read
from clipmill.evaluate.sets import open_set

ALL = {"n_real": 0, "n_fake": 0}


def moving(n: int, seed: int, frames: int = 16, side: int = 64) -> np.ndarray:
    """uint8 [n, T, side, side, 3]: textures that drift at their own speed."""
    rng = np.random.default_rng(seed)
    out = np.empty((n, frames, side, side, 3), np.uint8)
    for i in range(n):
        big = np.kron(rng.integers(0, 256, (16, 16, 3)), np.ones((8, 8, 1))).astype(np.uint8)
        dx, dy = rng.integers(-4, 5, 2)
        for t in range(frames):
            out[i, t] = np.roll(big, (dy * t, dx * t), (0, 1))[:side, :side]
    return out


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two folders of small videos, one file of which is no video and one too short."""
    root = tmp_path_factory.mktemp("sets")
    for name, start in (("real", 0), ("fake", 3)):
        (root / name).mkdir()
        for k in range(10):
            write_video(root / name / f"clip{k}.mp4", list(range(20 + k + start)), Fraction(1, 25), size=(96, 64))
    (root / "fake" / "broken.mp4").write_bytes(b"not a video")
    write_video(root / "fake" / "short.mp4", list(range(5)), Fraction(1, 25), size=(96, 64))
    return root


@pytest.mark.slow
def test_fvd_command_reports_skips_and_never_calls_mini_fvd(folders, tmp_path):
    out = tmp_path / "scores.parquet"
    done = evaluate(
        "fvd", folders / "real", folders / "fake", "--features", "mini", "--out", out, "--cache", tmp_path / "cache"
    )
    assert "FVD" not in done.stdout.replace("fvd", "")
    assert "mini" in done.stdout
    assert "2 fake clips were skipped" in done.stdout
    row = read(out)[0]
    assert (row.n_real, row.n_fake) == (10, 10)
    assert {s.split(": ", 1)[0] for s in row.skipped} == {"fake broken.mp4", "fake short.mp4"}
    assert np.isfinite(row.value)
    table = pd.read_parquet(out)
    assert json.loads(table["facts"][0])["protocol"]["clip_frames"] == 16


@pytest.mark.slow
def test_features_are_kept_and_a_second_metric_costs_nothing(folders, tmp_path):
    cache = tmp_path / "cache"
    evaluate("fvd", folders / "real", folders / "real", "--features", "mini", "--cache", cache)
    parts = {p: p.stat().st_mtime_ns for p in cache.rglob("features/**/*.parquet")}
    assert parts
    evaluate("run", folders / "real", folders / "real", "--metrics", "kvd,fvd", "--features", "mini", "--cache", cache)
    assert {p: p.stat().st_mtime_ns for p in cache.rglob("features/**/*.parquet")} == parts


def test_an_interrupted_measurement_goes_on_where_it_stopped(tmp_path):
    videos, protocol, seen = open_set(moving(40, 0)), load("clipmill", ALL), []

    def stopping(items):
        if len(seen) + len(items) > 20:
            raise KeyboardInterrupt
        seen.extend(items)
        return [item.mean((0, 1)) for item in items]

    def going(items):
        seen.extend(items)
        return [item.mean((0, 1)) for item in items]

    def load_clip(pixels, fps, video):
        return pixels.reshape(len(pixels), -1, 3).astype(np.float32)

    settings = Settings(batch=4, cache=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        measure(videos, 0, protocol, Measurement(load_clip, stopping, "f"), settings)
    done_before = len(seen)
    assert done_before == 20
    result = measure(videos, 0, protocol, Measurement(load_clip, going, "f"), settings)
    assert len(seen) == 40
    assert len(result.clip_ids) == 40
    fresh = measure(videos, 0, protocol, Measurement(load_clip, going, "g"), Settings(batch=7, workers=1))
    assert np.array_equal(fresh.values, result.values)


def test_not_a_finite_number_is_a_listed_skip():
    def combine(items):
        return [np.array([np.nan if i.mean() > 128 else 1.0], np.float32) for i in items]

    videos = np.zeros((6, 16, 8, 8, 3), np.uint8)
    videos[2] = 255
    result = measure(
        open_set(videos), 0, load("clipmill", ALL), Measurement(lambda p, f, v: p, combine, "f"), Settings()
    )
    assert len(result.clip_ids) == 5
    assert result.skipped[0].video_id == "000002"
    assert "finite" in result.skipped[0].reason


def test_identity_symmetry_and_order(tmp_path):
    a, b = moving(24, 1), moving(24, 2)
    options = {"sets": ALL | {"features": "mini"}, "cache": tmp_path}
    same = api.fvd(a, a, **options)
    assert abs(same.value) < 1e-6
    one, two = api.fvd(a, b, **options), api.fvd(b, a, **options)
    assert one.value == pytest.approx(two.value, rel=1e-9)
    assert one.value > 100 * abs(same.value)
    assert api.fvd(a[::-1], b[::-1], **options).value == pytest.approx(one.value, rel=1e-6)
    assert one.warnings


def test_eight_clips_work_and_warn(tmp_path):
    row = api.fvd(moving(8, 1), moving(8, 2), sets=ALL | {"features": "mini"}, cache=tmp_path)
    assert np.isfinite(row.value)
    assert any("2048" in w for w in row.warnings)


def test_copies_and_mixed_sizes_warn(tmp_path):
    doubled = moving(6, 1)[[0, 1, 2, 3, 4, 5, 5]]
    row = api.fvd(moving(8, 2), doubled, sets=ALL | {"features": "mini"})
    assert any("1 of 7 fake clips are copies" in w for w in row.warnings)
    for k, size in enumerate([(96, 64), (64, 64)]):
        write_video(tmp_path / f"{k}.mp4", list(range(16)), Fraction(1, 25), size=size)
    row = api.score(["flicker"], None, tmp_path, sets=ALL)[0]
    assert any("differ in size" in w for w in row.warnings)


@pytest.mark.slow
def test_compare_orders_equals_and_refuses_others(folders, tmp_path):
    out, cache = tmp_path / "scores.parquet", tmp_path / "cache"
    base = ("--features", "mini", "--out", out, "--cache", cache, "--set", "n_fake=10")
    evaluate("fvd", folders / "real", folders / "fake", *base)
    evaluate("fvd", folders / "real", folders / "real", *base)
    assert "not comparable" not in evaluate("compare", out).stdout
    evaluate("fvd", folders / "real", folders / "real", *base, "--protocol", "stylegan-v")
    refused = invoke("evaluate", "compare", out)
    assert refused.returncode == 2
    assert "protocol.ddof: 1 | 0" in refused.stdout
    assert "--force" in refused.stderr
    assert evaluate("compare", out, "--force").returncode == 0


@pytest.mark.slow
def test_statistics_stand_for_the_videos(folders, tmp_path):
    cache, file = tmp_path / "cache", tmp_path / "real.npz"
    evaluate("stats", folders / "real", "--out", file, "--features", "mini", "--cache", cache)
    out = tmp_path / "scores.parquet"
    for real in (folders / "real", file):
        evaluate("fvd", real, folders / "fake", "--features", "mini", "--cache", cache, "--out", out)
    first, second = read(out)
    assert first.value == second.value
    assert first.fingerprint == second.fingerprint
    wrong = invoke("evaluate", "fvd", file, folders / "fake", "--features", "mini", "--protocol", "original")
    one_line(wrong, "resize (bilinear-antialias there, tf1-bilinear asked)")


@pytest.mark.slow
def test_statistics_made_in_another_way_name_the_options_that_mend_it(folders, tmp_path):
    cache, file = tmp_path / "cache", tmp_path / "real.npz"
    made = ("--features", "mini", "--set", "clip_frames=8", "--set", "fps=12.5")
    evaluate("stats", folders / "real", "--out", file, *made, "--cache", cache)
    for asked in (("--features", "mini"), ("--features", "i3d-random")):
        wrong = invoke("evaluate", "fvd", file, folders / "fake", *asked, "--cache", cache)
        assert wrong.returncode == 2
        assert "clip_frames (8 there, 16 asked)" in wrong.stderr
        options = shlex.split(wrong.stderr.split("; to do it as there: ")[1])
        mended = evaluate(
            "fvd",
            file,
            folders / "fake",
            *(options if "--features" in options else [*asked, *options]),
            "--cache",
            cache,
        )
        assert "Fréchet distance (mini)" in mended.stdout


@pytest.mark.parametrize(
    ("command", "out", "message"),
    [
        ("fvd", "/sys/s.parquet", "cannot write to /sys"),
        ("fvd", "/sys/new/s.parquet", "cannot write to /sys"),
        ("fvd", "{real}", "{real} is a folder: --out {real}/scores.parquet"),
        ("stats", "/sys/s.npz", "cannot write to /sys"),
        ("stats", "{real}", "{real} is a folder"),
        ("degrade", "/sys/study", "cannot write to /sys"),
    ],
)
def test_a_place_that_cannot_be_written_is_found_before_the_work(folders, tmp_path, command, out, message):
    real, cache = str(folders / "real"), tmp_path / "cache"
    sets = (real, real) if command == "fvd" else (real,)
    done = invoke("evaluate", command, *sets, "--features", "mini", "--out", out.format(real=real), "--cache", cache)
    one_line(done, message.format(real=real))
    assert not cache.exists()


@pytest.mark.slow
def test_the_folder_of_the_scores_is_made(folders, tmp_path):
    out = tmp_path / "new" / "folder" / "scores.parquet"
    evaluate(
        "run", folders / "real", folders / "real", "--metrics", "flicker", "--out", out, "--cache", tmp_path / "cache"
    )
    assert len(read(out)) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fvd", "{real}", "{real}", "--protocol", "orginal"), "no protocol called 'orginal'"),
        (("fvd", "{real}", "{real}", "--features", "nope"), "no feature network called 'nope'"),
        (("run", "{real}", "{real}", "--metrics", "fvdd"), "no metric called 'fvdd'"),
        (("fvd", "{real}", "{real}", "--features", "mini", "--set", "strid=2"), "did you mean"),
        (("fvd", "{real}", "{real}", "--features", "mini", "--set", "resize=bicubic"), "one of tf1-bilinear"),
        (("fvd", "{real}", "{real}/none", "--features", "mini"), "there is no"),
        (("fvd", "{real}", "{real}", "--features", "mini", "--where", "motion > 1"), "manifest"),
        (("fvd", "{real}", "{real}", "--features", "i3d-random", "--set", "clip_frames=8"), "at least 9 frames"),
        (("fvd", "{real}", "{real}"), "i3d"),
        (("fvd", "{real}", "{real}", "--features", "mini", "--device", "tpu"), "auto, cpu or cuda"),
        (("fvd", "{real}", "{real}", "--features", "mini", "--out", "{real}/clip0.mp4"), "no file of scores"),
        (("stats", "{real}", "--features", "mini", "--out", "{real}/clip0.mp4/x.npz"), "clip0.mp4"),
        (("compare", "{real}/none.parquet"), "there is no file"),
        (("compare", "{real}"), "is a folder, not a file of scores"),
    ],
)
def test_a_mistake_is_one_line(folders, tmp_path, arguments, message):
    done = (
        invoke("evaluate", *(a.replace("{real}", str(folders / "real")) for a in arguments), "--cache", tmp_path)
        if arguments[0] != "compare"
        else invoke("evaluate", *(a.replace("{real}", str(folders)) for a in arguments))
    )
    one_line(done, message)


def test_protocols_are_data():
    assert set(names()) >= {"clipmill", "original", "stylegan-v", "tats-lvdm", "videogpt", "digan", "cd-fvd"}
    loaded = [load(name) for name in names()]
    assert len(
        {str(p.feature_fields()) + str((p.ddof, p.dtype, p.choose, p.clip_choice, p.missing)) for p in loaded}
    ) == len(loaded)
    assert all(p.summary and p.source for p in loaded)
    assert [
        name for name in names() if load(name).network_options != {"bn_eps": load(name).bn_eps, "input_range": 1.0}
    ] == ["videogpt"]
    assert load("clipmill", {"stride": 2}).name == "clipmill+"
    assert load("clipmill", {"stride": 1}) == load("clipmill")
    assert differing_fields({"a": {"b": 1}, "c": 2}, {"a": {"b": 3}, "c": 2}) == ["a.b: 1 | 3"]
    assert Protocol(name="x", version=1).clip_frames == 16


def test_the_protocol_decides_how_the_number_is_made():
    a, b = moving(12, 1), moving(12, 2)
    one = api.fvd(a, b, sets=ALL | {"features": "mini"})
    other = api.fvd(a, b, sets=ALL | {"features": "mini", "ddof": 0})
    assert other.value < one.value
    assert one.facts["parameters"]["ddof"] == 1
    assert differing_fields(one.facts, other.facts) == ["parameters.ddof: 1 | 0", "protocol.ddof: 1 | 0"]


def test_few_clips_are_repeated_where_the_protocol_says_so():
    row = api.fvd(moving(9, 1), moving(9, 2), protocol="cd-fvd", sets={"features": "mini", "n_fake": 20})
    assert (row.n_real, row.n_fake) == (9, 20)
    assert any("11 of 20 fake clips are copies" in w for w in row.warnings)


def test_missing_weights_are_named_without_loading_torch(tmp_path):
    code = (
        "import sys; from clipmill.evaluate.commands import Options\n"
        "from clipmill.curate.errors import UserError\n"
        "options = Options('original', None, [], None, None, None, 'auto', 8, 2, None)\n"
        "try: options.evaluation('a', 'b')\n"
        "except UserError as error: print(error)\n"
        "print('torch' in sys.modules)"
    )
    environment = os.environ | {"CLIPMILL_WEIGHTS": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout.startswith("no weights for I3D: put ")
    assert done.stdout.strip().endswith("False")


@pytest.mark.slow
def test_torchrun_shares_the_clips_out_and_gives_the_same_number(folders, tmp_path):
    arguments = ["fvd", folders / "real", folders / "fake", "--features", "mini"]
    evaluate(*arguments, "--cache", tmp_path / "one", "--out", tmp_path / "scores.parquet")
    shared = [*arguments, "--cache", tmp_path / "two", "--out", tmp_path / "scores.parquet"]
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "clipmill.evaluate.cli",
    ]
    subprocess.run([*command, *map(str, shared)], check=True, capture_output=True, timeout=200)
    alone, together = read(tmp_path / "scores.parquet")
    assert together.value == pytest.approx(alone.value, rel=1e-6)
    assert together.fingerprint == alone.fingerprint
    assert sorted(together.skipped) == sorted(alone.skipped)
