"""Sets of every kind show the right frames of the right videos, in natural order, and say what they cannot use."""

import io
import tarfile
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.barcode import painted, read, write_video
from helpers.tiny_videos import write_tiny

from clipmill.curate.errors import DecodeError, UserError
from clipmill.evaluate.frames.protocol import load
from clipmill.evaluate.frames.window import choose_frames
from clipmill.evaluate.sets import natural_key, open_set
from clipmill.evaluate.sets.files import bytes_frames
from clipmill.evaluate.sets.runs import manifest_set

PLAIN = {"clip_choice": "first", "n_real": 0, "n_fake": 0}


def numbers(video, protocol=None) -> list[int]:
    """Bar codes of the frames that a protocol takes."""
    with video.open() as frames:
        index = choose_frames(frames.times_s(), protocol or load("clipmill", PLAIN | {"clip_frames": 4}), video.key)
        return [read(picture) for picture in frames.read(index)]


def test_natural_order():
    names = ["frame10.png", "frame2.png", "frame1.png", "a/clip_9", "a/clip_11"]
    assert sorted(names, key=natural_key) == ["a/clip_9", "a/clip_11", "frame1.png", "frame2.png", "frame10.png"]


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts"])
def test_video_files_give_the_frames_asked_for(tmp_path, suffix):
    codec = "mpeg4" if suffix == "avi" else "libx264"
    write_video(tmp_path / f"v.{suffix}", list(range(60)), Fraction(1, 25), codec)
    video = open_set(tmp_path).videos[0]
    with video.open() as frames:
        assert len(frames.times_s()) == 60
        wanted = np.array([0, 1, 17, 18, 40, 59])
        assert [read(p) for p in frames.read(wanted)] == wanted.tolist()


def test_frame_folders_in_natural_order(tmp_path):
    for k in range(12):
        (tmp_path / "clip").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "clip" / f"frame{k}.png"), painted(k, 80, 48))
    video = open_set(tmp_path).videos[0]
    assert numbers(video, load("clipmill", PLAIN | {"clip_frames": 12})) == list(range(12))
    with pytest.raises(UserError, match="no rate"):
        numbers(video, load("clipmill", PLAIN | {"fps": 8.0, "clip_frames": 4}))


def test_arrays(tmp_path):
    videos = np.stack([np.stack([painted(10 * v + t, 80, 48) for t in range(6)]) for v in range(3)])
    np.save(tmp_path / "v.npy", videos)
    np.savez(tmp_path / "v.npz", videos=videos)
    for spec in (videos, tmp_path / "v.npy", tmp_path / "v.npz"):
        opened = open_set(spec)
        assert [numbers(v) for v in opened.videos] == [[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23]]
        assert len({v.key for v in opened.videos}) == 3
    with pytest.raises(UserError, match="uint8"):
        open_set(videos / 255.0)
    with pytest.raises(UserError, match=r"\[N, T, H, W, 3\]"):
        open_set(videos[0])
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], object), allow_pickle=True)
    with pytest.raises(UserError, match="cannot read"):
        open_set(tmp_path / "objects.npy")


def test_tars(tmp_path):
    clip = write_video(tmp_path / "x.mp4", list(range(20)), Fraction(1, 25)).read_bytes()
    with tarfile.open(tmp_path / "s-000.tar", "w") as tar:
        for name, data in (("b.mp4", clip), ("b.json", b"{}"), ("a.mp4", clip)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    (tmp_path / "s-001.tar").write_bytes(b"no tar at all")
    opened = open_set(str(tmp_path / "s-*.tar"))
    assert [v.video_id for v in opened.videos] == ["s-000/b", "s-000/a"]
    assert numbers(opened.videos[0]) == [0, 1, 2, 3]
    assert opened.videos[0].key == opened.videos[1].key
    assert [s.video_id for s in opened.skipped] == [str(tmp_path / "s-001.tar")]


def test_window_first_middle_random_and_too_short():
    times = np.arange(100) / 25
    first = load("clipmill", {"clip_choice": "first", "stride": 3})
    assert choose_frames(times, first, "k").tolist() == list(range(0, 48, 3))
    assert choose_frames(times, load("clipmill", {"clip_choice": "middle"}), "k")[0] == 42
    random = load("clipmill")
    starts = {int(choose_frames(times, random, f"key {k}")[0]) for k in range(200)}
    assert min(starts) < 5
    assert max(starts) > 79
    assert choose_frames(times, random, "a").tolist() == choose_frames(times, random, "a").tolist()
    assert choose_frames(times, random, "a", 1).tolist() != choose_frames(times, random, "a").tolist()
    with pytest.raises(DecodeError, match="15 frames, the protocol takes 16"):
        choose_frames(times[:15], random, "a")


def test_window_by_rate_follows_the_times():
    variable = np.concatenate([np.arange(25) / 25, 1 + np.arange(60) / 60])
    taken = choose_frames(variable, load("clipmill", {"fps": 10.0, "clip_choice": "first", "clip_frames": 20}), "k")
    assert np.allclose(variable[taken], np.arange(20) / 10, atol=1 / 25 + 1e-9)
    assert (variable[taken] <= np.arange(20) / 10 + 1e-9).all()


def test_where_speaks_sql(tmp_path):
    table = pa.table(
        {
            "clip_id": ["0", "1", "2", "3"],
            "path": ["x.mp4"] * 4,
            "motion": [0.1, 0.5, None, 0.5],
            "source": ["ego", "it's", "ego", "it's"],
            "width": [64, 128, 256, 128],
            "failed_filters": [[], ["motion"], [], []],
            "keep": [True, True, True, None],  # a run of before `keep` was false where a score is missing
        }
    )
    manifest = tmp_path / "manifest.parquet"
    pq.write_table(table, manifest)
    (tmp_path / "x.mp4").touch()

    def ids(where):
        return [int(video.video_id) for video in manifest_set(manifest, where).videos]

    assert ids(None) == [0, 1, 2]
    assert ids("motion > 0.2 OR source = 'ego'") == [0, 1, 2]
    assert ids("motion > 0.05 AND width >= 128") == [1]
    assert ids("source = 'it''s' AND width <> 64") == [1]
    assert ids("motion IS NOT NULL and NOT width = 64") == [1]
    assert ids("motion IS NULL") == [2]
    assert ids("NOT motion > 0.2") == [0], "what is null is neither one nor the other"
    assert ids("width BETWEEN 100 AND 300 AND source IN ('ego')") == [2]
    assert ids("list_contains(failed_filters, 'motion')") == [1]
    with pytest.raises(
        UserError, match=r"manifest\.parquet: the condition .* no column 'motoin'; did you mean 'motion'"
    ):
        ids("motoin > 1")
    with pytest.raises(UserError, match="does not work"):
        ids("motion >")
    with pytest.raises(UserError, match="it holds a subquery"):
        ids(f"clip_id IN (SELECT clip_id FROM '{manifest}')")


def test_a_run_is_read_from_its_shards_or_its_sources(demo_run, tmp_path):
    opened = open_set(demo_run)
    table = pd.read_parquet(demo_run / "manifest.parquet")
    kept = table[table["keep"].fillna(False).astype(bool)]
    assert [v.video_id for v in opened.videos] == sorted(kept["clip_id"])
    narrowed = open_set(demo_run, where="motion > 0.05")
    assert 0 < len(narrowed.videos) < len(opened.videos)
    assert len(narrowed.videos) == int((kept["motion"] > 0.05).sum())
    # Without its shards the same clips come from the source videos, cut at the same frames and cropped alike.
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("manifest.parquet", "videos.parquet"):
        (bare / name).write_bytes((demo_run / name).read_bytes())
    row = kept[kept["shard"].notna()].iloc[0]
    exported = next(v for v in opened.videos if v.video_id == row["clip_id"])
    source = next(v for v in open_set(bare).videos if v.video_id == row["clip_id"])
    assert source.key != exported.key
    with exported.open() as a, source.open() as b:
        n = min(len(a.times_s()), len(b.times_s()), 4)
        one, two = a.read(np.arange(n)), b.read(np.arange(n))
    scaled = np.stack([cv2.resize(p, one.shape[2:0:-1], interpolation=cv2.INTER_AREA) for p in two])
    assert np.abs(scaled.astype(int) - one).mean() < 6


def test_empty_and_absent_sets(tmp_path):
    with pytest.raises(UserError, match="there is no"):
        open_set(tmp_path / "nothing")
    with pytest.raises(UserError, match="no videos"):
        open_set(tmp_path)
    with pytest.raises(UserError, match="manifest"):
        open_set(np.zeros((1, 4, 8, 8, 3), np.uint8), where="motion > 1")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system opens no file without a name")
def test_a_member_of_a_tar_leaves_nothing_where_the_command_is_killed(tmp_path, monkeypatch):
    """What a killed process cannot take away must have no name."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    data = write_tiny(tmp_path / "a.mp4").read_bytes()
    with bytes_frames(data, ".mp4") as frames:
        assert len(frames.times_s()) == 40
        assert frames.read(np.array([0, 39])).shape == (2, 48, 64, 3)
        assert list((tmp_path / "tmp").iterdir()) == []
