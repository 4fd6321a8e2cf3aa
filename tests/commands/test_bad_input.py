"""What bad input gets: a clear row or a one-line error, the rest of the run unharmed, counts that reconcile."""

import json
import os
import shutil
import subprocess

import av
import numpy as np
import pandas as pd
import pytest
from helpers.commands import LOCAL, curate, invoke, one_line

CHEAP = (
    "--no-export",
    "--set",
    "scenes.detector=cascade",
    "--set",
    "annotators=['borders','motion','quality','phash']",
)
CHEAP = (*CHEAP, "--set", "policy.text_area=off")


def write_video(path, n_frames=50, size=(64, 48), step=3, seed=0, codec="libx264"):
    rng = np.random.default_rng(seed)
    texture = rng.integers(0, 255, (size[1], size[0] + step * n_frames, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for i in range(n_frames):
            picture = np.ascontiguousarray(texture[:, i * step : i * step + size[0]])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def hard_run(shared_videos, tmp_path_factory):
    run = tmp_path_factory.mktemp("hard") / "run"
    curate("run", shared_videos / "hard", "--out", run, *CHEAP, "--timeout", "120", *LOCAL)
    return run


def test_every_hard_file_is_accounted_for(shared_videos, hard_run):
    videos = pd.read_parquet(hard_run / "videos.parquet")
    files = sorted(p.name for p in (shared_videos / "hard").iterdir())
    assert sorted(videos["relpath"]) == files
    assert set(videos["status"]) <= {"ok", "partial", "error", "duplicate"}
    unreadable = videos[videos["status"] == "error"]
    assert unreadable["error_message"].str.len().gt(5).all()
    assert not unreadable["error_message"].str.contains("\n|Traceback|Errno").any()
    assert videos.loc[videos["status"].isin(["ok", "partial"]), "n_frames_decoded"].gt(0).all()
    counts = json.loads((hard_run / "run.json").read_text())["counts"]
    assert counts["files"] == counts["ok"] + counts["partial"] + counts["error"] + counts["duplicate"] == len(files)
    assert counts["clips"] == counts["kept"] + counts["dropped"] + counts["error_clips"] + counts["not_run"]


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("zero_byte.webm", "error", "Invalid data"),
        ("mapillary_text_as.mp4", "error", "not a video format"),
        ("datajuicer_audio_only.mp4", "error", "no video stream (streams: audio)"),
        ("mp4parse_encrypted.mp4", "error", "no frame could be decoded"),
        ("derived_trunc60.mp4", "partial", "truncated"),
        ("popcorn_theora.ogv", "partial", "packets could not be decoded"),
        ("derived_1frame.mp4", "ok", None),
        ("moviepy_1x1.mp4", "ok", None),
        ("derived_8k.mp4", "ok", None),
        ("derived_odd_479x269.mp4", "ok", None),
        ("copy_name_odd.mp4", "ok", None),
        ("derived_no_extension", "duplicate", None),
        ("derived_strip_4000x16.mp4", "ok", None),
    ],
)
def test_hard_files_end_as_they_should(hard_run, name, status, words):
    row = pd.read_parquet(hard_run / "videos.parquet").set_index("relpath").loc[name]
    assert row["status"] == status
    if words is None:
        assert pd.isna(row["error_message"])
    else:
        assert words in row["error_message"]


def test_identical_bytes_under_two_names_are_one_video(hard_run):
    videos = pd.read_parquet(hard_run / "videos.parquet").set_index("relpath")
    copies = videos[videos["status"] == "duplicate"]
    assert len(copies) > 0
    for row in copies.itertuples():
        assert videos.loc[row.duplicate_of, "video_id"] == row.video_id


@pytest.mark.slow
def test_strange_names_and_the_same_name_in_two_folders(tmp_path):
    videos = tmp_path / "in"
    for folder in ("a", "b"):
        (videos / folder).mkdir(parents=True)
        write_video(videos / folder / "clip.mp4", seed=ord(folder))
    write_video(videos / "with space & ümläut 日本.mp4", seed=9)
    write_video(tmp_path / "plain.mp4", seed=10)
    shutil.move(tmp_path / "plain.mp4", os.path.join(os.fsencode(videos), b"bad\xff.mp4"))
    (videos / "loop").symlink_to(videos)
    curate("run", videos, "--out", tmp_path / "run", *CHEAP)
    table = pd.read_parquet(tmp_path / "run" / "videos.parquet")
    assert list(table["relpath"]) == ["a/clip.mp4", "b/clip.mp4", "bad\\xff.mp4", "with space & ümläut 日本.mp4"]
    assert set(table["status"]) == {"ok"}


@pytest.mark.slow
def test_thousands_of_cuts(tmp_path):
    videos = tmp_path / "in"
    videos.mkdir()
    rng = np.random.default_rng(0)
    with av.open(str(videos / "strobe.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(3000):
            if i % 2 == 0:
                picture = np.repeat(np.repeat(rng.integers(0, 255, (6, 8, 3), np.uint8), 8, 0), 8, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    curate("run", videos, "--out", tmp_path / "run", *CHEAP)
    counts = json.loads((tmp_path / "run" / "run.json").read_text())["counts"]
    assert counts["ok"] == 1
    assert counts["clips"] == counts["kept"] + counts["dropped"] + counts["error_clips"] + counts["not_run"]


def test_user_errors_are_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "a.mp4", n_frames=5)
    out = ("--out", tmp_path / "run")
    one_line(invoke("curate", "run", tmp_path / "empty", *out), "no videos below")
    one_line(invoke("curate", "run", tmp_path / "missing", *out), "there is no file or folder")
    one_line(invoke("curate", "run", tmp_path / "in", *out, "--set", "scenes.detecter=x"), "did you mean 'detector'?")
    one_line(invoke("curate", "run", tmp_path / "in", *out, "--set", "scens.detector=x"), "did you mean 'scenes'?")
    one_line(invoke("curate", "run", tmp_path / "in", *out, "--set", "policy.motoin.min=1"), "did you mean 'motion'?")
    one_line(invoke("curate", "run", tmp_path / "in", *out, "--preset", "nope"), "there are: cosmos, ")
    one_line(invoke("curate", "run", tmp_path / "in", *out, "--engine", "slurm"), "there are: inline, local")
    one_line(invoke("curate", "run", tmp_path / "in"), "--out")
    one_line(invoke("curate", "filter", tmp_path / "in"), "no run directory")
    one_line(invoke("curate", "inspect", tmp_path / "in", "abc"), "no")
    (tmp_path / "file").write_text("x")
    one_line(invoke("curate", "run", tmp_path / "in", "--out", tmp_path / "file" / "run"), "cannot write to")
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").glob("*.parquet"))


def test_a_file_that_vanishes_mid_run_is_a_row(tmp_path):
    from clipmill.curate.common.files import read_table
    from clipmill.curate.config import load
    from clipmill.curate.decode.task import BASE, VideoTask
    from clipmill.curate.decode.worker import process_video
    from clipmill.curate.tables.run_dir import RunDir

    config = load("default", ["annotators=['borders','motion']", "scenes.detector=cascade"])
    gone, unit = str(tmp_path / "gone.mp4"), "ab" * 16
    task = VideoTask(gone, "file:///gone.mp4", "gone.mp4", unit, "ab" * 32, 3, str(tmp_path / "run"), config, (BASE,))
    event = process_video(task)
    assert event["status"] == "error"
    part = next(RunDir(tmp_path / "run").root.glob("videos/*.parquet"))
    row = read_table(part).to_pylist()[0]
    assert row["status"] == "error"
    assert "No such file" in row["error_message"]


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 70 MB: passes preflight, then fills up."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=70m", "tmpfs", str(folder)], capture_output=True).returncode
        != 0
    ):
        pytest.skip("cannot mount a tmpfs here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_run_resumes(tmp_path, tiny_disk):
    videos = tmp_path / "in"
    videos.mkdir()
    for i in range(3):
        write_video(videos / f"{i}.mp4", seed=i)
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(5 << 20))
    run = tiny_disk / "run"
    run.mkdir()
    filler = tiny_disk / "filler"
    with filler.open("wb") as file:
        file.truncate(0)
        try:
            while True:
                file.write(bytes(1 << 16))
                file.flush()
        except OSError:
            pass
    one_line(curate("run", videos, "--out", run, *CHEAP, check=False), "full")
    filler.unlink()
    curate("run", videos, "--out", run, *CHEAP)
    assert json.loads((run / "run.json").read_text())["counts"]["ok"] == 3
