"""What differs between the real and the fake set is said; a set that would be a guess is refused; pairs find each
other.
"""

from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from helpers.commands import invoke
from helpers.textures import moving, noisy, write_file, write_files, write_frames

import clipmill.evaluate as api
from clipmill.curate.errors import UserError
from clipmill.evaluate.score_rows import ScoreRow
from clipmill.evaluate.sets import open_set

ALL = {"n_real": 0, "n_fake": 0, "clip_choice": "first"}


def score(real, fake, metric="kvd", **options) -> ScoreRow:
    settings = ALL | {"features": "mini"} | options.pop("settings", {})
    return api.score([metric], real, fake, settings=settings, tell=None, **options)[0]


def lines(row: ScoreRow, about: str) -> list[str]:
    return [line for line in row.warnings if about in line]


@pytest.fixture(scope="module")
def scenes():
    return moving(6, 3, frames=48, side=48)


def test_frame_rates_that_differ_are_named(tmp_path, scenes):
    fast = write_files(tmp_path / "fast", scenes, 30)
    slow = write_files(tmp_path / "slow", scenes[:, ::3], 10)
    row = score(fast, slow)
    assert len(lines(row, "30 fps")) == 1
    assert "10 fps" in lines(row, "30 fps")[0]
    assert len(lines(row, "lengths differ")) == 0, "both last 1.6 s"
    same = score(fast, slow, settings={"fps": 10})
    assert not lines(same, "frame rates")
    assert same.value < row.value / 3
    by_stride = score(fast, slow, real_settings={"stride": 3})
    assert not lines(by_stride, "frame rates")
    assert by_stride.value == pytest.approx(same.value, rel=1e-6)
    assert by_stride.fingerprint != row.fingerprint
    assert by_stride.facts["real_set"] == {"stride": 3}
    assert by_stride.protocol == "clipmill+ v1"


def test_a_rate_may_be_declared_where_the_storage_has_none(tmp_path, scenes):
    fast = write_files(tmp_path / "fast", scenes, 30)
    slow, frames = np.ascontiguousarray(scenes[:, ::3]), write_frames(tmp_path / "frames", scenes[:, ::3])
    unknown = score(fast, slow)
    assert len(lines(unknown, "not known")) == 1
    assert "--fake-set stored_fps" in lines(unknown, "not known")[0]
    with pytest.raises(UserError, match=r"--fake-set stored_fps"):
        score(fast, slow, settings={"fps": 10})
    known = [score(fast, fake, settings={"fps": 10}, fake_settings={"stored_fps": 10}) for fake in (slow, frames)]
    assert known[0].value == known[1].value
    assert not lines(known[0], "fps")
    assert known[0].facts["fake_set"] == {"stored_fps": 10.0} or known[0].facts["fake_set"] == {"stored_fps": 10}
    degree = score(None, slow, "dynamic-degree", settings={"stored_fps": 10})
    of_files = score(None, write_files(tmp_path / "slow", slow, 10), "dynamic-degree")
    assert degree.value == pytest.approx(of_files.value, rel=1e-6)


def test_sizes_aspects_and_lengths_that_differ_are_said(scenes):
    small, large = scenes[:, :20], np.repeat(np.repeat(scenes, 2, axis=2), 3, axis=3)
    row = score(small, large)
    assert lines(row, "sizes differ") == ["sizes differ: real clips have 48x48 px, fake clips 144x96 px"]
    assert len(lines(row, "aspects differ")) == 1
    assert lines(row, "lengths differ") == [
        "lengths differ: real videos have 20 frames, fake videos 48 frames (medians)"
    ]
    assert not [line for line in score(scenes[:3], scenes[3:]).warnings if "differ" in line]


def test_the_same_clips_in_both_sets_are_counted(tmp_path, scenes):
    folder = write_files(tmp_path / "a", scenes)
    assert lines(score(folder, folder), "in both sets") == ["6 clips are in both sets"]
    some = np.concatenate([scenes[:2], moving(4, 77, side=48, frames=48)])
    assert len(lines(score(folder, some), "2 clips are in both sets")) == 1, "whatever they are stored as"
    assert not lines(score(folder, moving(6, 77, side=48, frames=48)), "in both sets")


def test_repeated_frames_are_said(tmp_path, scenes):
    twice = np.repeat(scenes[:, :24], 2, axis=1)
    row = score(write_files(tmp_path / "a", scenes), write_files(tmp_path / "b", twice))
    assert len(lines(row, "frames repeated: 0% of the real")) == 1
    again = score(write_files(tmp_path / "a", scenes), write_files(tmp_path / "b", twice), cache=tmp_path / "c")
    stored = score(tmp_path / "a", tmp_path / "b", cache=tmp_path / "c")
    assert stored.warnings == again.warnings == row.warnings, "features that are kept know it too"


def test_statistics_know_what_their_videos_were(tmp_path, scenes):
    fast, slow = write_files(tmp_path / "fast", scenes, 30), write_files(tmp_path / "slow", scenes[:, ::3], 10)
    made = invoke(
        "evaluate", "stats", fast, "--out", tmp_path / "s.npz", "--features", "mini", "--set", "n_real=0", "--set",
        "clip_choice=first", "--cache", tmp_path / "c",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert score(tmp_path / "s.npz", slow).warnings == score(fast, slow).warnings


def test_few_clips_are_one_line_on_the_screen(tmp_path, scenes):
    np.save(tmp_path / "a.npy", scenes[:3])
    np.save(tmp_path / "b.npy", scenes[3:])
    done = invoke(
        "evaluate", "run", tmp_path / "a.npy", tmp_path / "b.npy", "--metrics", "fvd,kvd", "--features", "mini",
        "--cache", tmp_path / "c",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    warnings = [line for line in done.stdout.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1, warnings
    assert "3 real and 3 fake clips, the protocol asks for 2048" in warnings[0]
    assert "mostly bias" in warnings[0]
    assert "full rank" in warnings[0]


@pytest.mark.parametrize("place", ["preview.mp4", "v0/preview.mp4", "videos/v0.mp4"])
def test_videos_beside_folders_of_frames_are_refused_with_both_counts(tmp_path, scenes, place):
    write_frames(tmp_path / "set", scenes[:, :4])
    write_file(tmp_path / "set" / place, scenes[0])
    with pytest.raises(UserError, match=r"1 videos \(.*mp4\) and 6 folders of frames") as caught:
        open_set(tmp_path / "set")
    assert "\n" not in str(caught.value)
    assert len(open_set(f"{tmp_path}/set/**/*.mp4").videos) == 1
    assert len(open_set(f"{tmp_path}/set/v*").videos) >= 6


def test_what_is_no_video_does_not_hide_frames_nor_thumbnails_videos(tmp_path, scenes):
    folder = write_frames(tmp_path / "frames", scenes[:, :4])
    (folder / "notes.bin").write_bytes(b"\0" * 100)
    opened = open_set(folder)
    assert (len(opened.videos), opened.kind) == (6, "frame folders")
    assert [skip.video_id for skip in opened.skipped] == ["notes.bin"]
    videos = write_files(tmp_path / "videos", scenes)
    (videos / "thumbs").mkdir()
    for k in range(6):
        cv2.imwrite(str(videos / "thumbs" / f"v{k}.jpg"), scenes[k, 0])
    cv2.imwrite(str(videos / "sheet.png"), scenes[0, 0])
    assert (len(open_set(videos).videos), open_set(videos).kind) == (6, "videos")


def stored_as(kind: str, folder: Path, videos: np.ndarray):
    if kind == "array":
        return videos
    return write_frames(folder, videos) if kind == "png" else write_files(folder, videos, suffix=kind)


@pytest.mark.parametrize("real_kind", ["mp4", "mkv", "png", "array"])
@pytest.mark.parametrize("fake_kind", ["mp4", "mkv", "png", "array"])
def test_pairs_are_matched_whatever_they_are_stored_as(tmp_path, real_kind, fake_kind):
    videos = moving(3, 0, side=32)
    fake = noisy(videos, 12)
    row = score(stored_as(real_kind, tmp_path / "real", videos), stored_as(fake_kind, tmp_path / "fake", fake), "psnr")
    errors = np.square(videos.astype(float) - fake).mean((1, 2, 3, 4))
    assert row.n_fake == 3
    assert row.value == pytest.approx(np.mean(10 * np.log10(255**2 / errors)), abs=0.05)


def test_pairs_that_would_be_a_guess_are_skipped_with_the_reason(tmp_path):
    videos = moving(3, 0, side=32)
    for name in ("one/a.mp4", "two/a.mp4", "b.mp4", "c.mp4"):
        write_file(tmp_path / "real" / name, videos[0])
    for name in ("a.mkv", "b.mkv", "c.mp4", "d.mp4"):
        write_file(tmp_path / "fake" / name, videos[1])
    row = score(tmp_path / "real", tmp_path / "fake", "psnr")
    assert row.n_fake == 2
    reasons = dict(skip.removeprefix("fake ").split(": ", 1) for skip in row.skipped)
    assert reasons["a.mkv"].startswith("2 videos of the real set may be its original: one/a.mp4")
    assert reasons["d.mp4"] == "no video of this name in the real set"
    assert lines(row, "2 real videos have no reconstruction")
    with pytest.raises(UserError, match="arrays go by order, and there are 4 real videos and 3 fake"):
        score(tmp_path / "real", videos, "psnr")


def test_an_unknown_setting_of_one_set_is_one_line(tmp_path, scenes):
    for option, text, says in (
        ("--fake-set", "clip_frames=8", "--fake-set takes stride, fps, stored_fps, not clip_frames"),
        ("--real-set", "stride=0", "stride is at least 1"),
        ("--real-set", "fvd.ddof=0", "fvd"),
        ("--set", "clips_per_video=3", ""),
        ("--set", "stored_fps=-1", "above 0"),
    ):
        extra = ("--set", "clip_choice=first") if not says else ()
        done = invoke("evaluate", "fvd", tmp_path, tmp_path, "--features", "mini", option, text, *extra)
        assert done.returncode == 2
        assert (says or "would take the same clip 3 times") in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_video_just_as_long_as_a_clip_gives_one(scenes):
    row = score(scenes[:3, :16], scenes[3:], settings={"clips_per_video": 3, "clip_choice": "random"})
    assert (row.n_real, row.n_fake) == (3, 9)
    assert sum("too short for 2 clips that differ" in skip for skip in row.skipped) == 3


def test_lists_and_tensors_are_sets(tmp_path, scenes):
    folder = write_files(tmp_path / "a", scenes)
    expected = score(folder, scenes, "kvd").value
    names = sorted(folder.iterdir())
    (tmp_path / "list.txt").write_text("# six\n" + "\n".join(f"a/{p.name}" for p in names), encoding="utf-8")
    tensor = torch.from_numpy(scenes)
    for real in (names, [str(p) for p in names], f"{folder}/*.mp4", tmp_path / "list.txt"):
        assert score(real, scenes).value == pytest.approx(expected, rel=1e-6)
    for fake in (list(scenes), tensor, tensor.movedim(-1, 2), [v.movedim(-1, 1) for v in tensor]):
        assert score(folder, fake).value == pytest.approx(expected, rel=1e-6)
    for wrong, says in (
        (tensor.float(), "uint8"), (tensor.bfloat16(), "uint8"), ([], "empty"), (7, "a set is"),
        ([scenes[0].astype(float)], "uint8"), ([names[0], scenes[0]], "not of both"), ({"a": 1}, "no such file"),
        (f"{folder}/*.mkv", "nothing matches"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=says):
            score(wrong, scenes)


def test_what_has_a_path_is_a_set(tmp_path, scenes):
    class Placed:
        def __fspath__(self) -> str:
            return str(write_files(tmp_path / "a", scenes[:2]))

    assert len(open_set(Placed()).videos) == 2


def test_captions_are_read_as_a_curate_run_reads_them(tmp_path, scenes):
    folder = write_files(tmp_path / "a", scenes)
    pd.DataFrame({"file": ["v0.mp4", "v1.mp4"], "caption": ["a red car", "two  dogs"]}).to_csv(folder / "m.csv")
    pd.DataFrame({"path": ["v2.mp4"], "text": ["rain"]}).to_parquet(folder / "more.parquet")
    (folder / "v3.json").write_text('{"caption": "a boat"}', encoding="utf-8")
    (folder / "v4.txt").write_text("the sea\n", encoding="utf-8")
    found = {v.video_id: v.caption for v in open_set(folder).videos}
    assert [found[f"v{k}.mp4"] for k in range(6)] == ["a red car", "two dogs", "rain", "a boat", "the sea", ""]


def test_a_transparency_that_is_left_out_is_said(tmp_path, scenes):
    frames = write_frames(tmp_path / "frames", scenes[:, :16])
    for picture in sorted((frames / "v0").iterdir()):
        cv2.imwrite(str(picture), cv2.cvtColor(cv2.imread(str(picture)), cv2.COLOR_BGR2BGRA))
    assert lines(score(scenes, frames), "1 of 6 fake clips have an alpha channel")
    with av.open(str(tmp_path / "x.mov"), "w") as container:
        stream = container.add_stream("qtrle", rate=25)
        stream.width = stream.height = 48
        stream.pix_fmt = "argb"
        for picture in scenes[0]:
            rgba = np.concatenate([picture, np.full((48, 48, 1), 128, np.uint8)], axis=2)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format="argb")))
        container.mux(stream.encode(None))
    assert lines(score(None, tmp_path / "x.mov", "flicker"), "1 of 1 fake clips have an alpha channel")
    assert not lines(score(None, scenes, "flicker"), "alpha")
